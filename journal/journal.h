// What coppice remembers of one SR, in SQLite: the tree over time, operations with their cursors, edits of image
// headers that may be half done, holds, settings, failures to be tried again, verdicts, speeds, and events. Losing it
// loses history and an administrator's holds and settings, never data.
//
// WAL with synchronous=FULL: when a call that changes something returns, the change survives a power cut; of one that
// was interrupted everything is there or nothing. One object is used by one thread at a time; several objects, in
// several threads and processes, may work on one file, and wait for each other up to 10 s (then: Busy). SQLite's
// exceptions are translated to Error here. Every method may throw Error, Busy, or UnusableJournal where the file
// turns out to be damaged.
//
// Times are seconds since 1970-01-01.
#pragma once

#include "format/base/block_device.h"
#include "format/base/error.h"
#include "format/base/header_edit.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::journal {

/// The file is no journal, is damaged, or belongs to a newer version or to another SR. Nothing was changed in it.
class UnusableJournal : public Error {
public:
    enum class Cause { newer, damaged, foreign }; ///< foreign: it is the journal of another SR
    UnusableJournal(Cause cause, const std::string& path, const std::string& text);
    Cause cause() const { return cause_; }

private:
    Cause cause_;
};

/// Renames the journal `path`, with its log, to `<path>.<cause>-<UTC time>` (such as ".damaged-20260101T000000Z"; "-2"
/// and so on follows where that name is taken), so that the next Journal::open makes a new one. Returns the new name.
/// Objects that have the old one open refuse to write from then on. To be called by the holder of the SR's lock only:
/// two who set aside at the same time would set aside the new one as well. Throws NotFound where `path` does not exist,
/// SystemError, or Busy.
std::string set_aside(const std::string& path, UnusableJournal::Cause cause);

/// An image as an operation found it when it began.
struct Fingerprint {
    std::string vdi;
    FileIdentity identity;
    bool operator==(const Fingerprint&) const = default;
};

enum class OperationState { running, merged, relinking, done, abandoned };

std::string_view to_string(OperationState state);

/// One executed step. `step` is the step as JSON, so that it can be finished without planning again.
struct Operation {
    std::int64_t id = 0;
    std::string kind; ///< "collect", "coalesce", "leaf-coalesce"; "slices", which one of the latter goes on with
    std::string vdi;
    std::string into;
    std::string direction; ///< "down", "up"
    std::string step;
    OperationState state = OperationState::running;
    Bytes cursor; ///< guest bytes below it are durable in the target
    Bytes copied_bytes;
    Bytes shared_bytes;
    std::vector<Fingerprint> sources; ///< must be unchanged for the cursor to count
    std::int64_t started = 0;         ///< 0: begin() takes the time from the clock
    std::optional<std::int64_t> ended;
    std::string error;     ///< of an abandoned one
    unsigned taken_up = 0; ///< how often a later run went on with it
};

struct PendingEdit {
    std::int64_t id = 0;
    std::string image;     ///< file name in the storage
    FileIdentity identity; ///< only device and inode count
    HeaderEdit edit;
    std::vector<Overwrite> before; ///< what stood in the places that the edit overwrites
};

/// A node as a scan saw it.
struct NodeVersion {
    std::string vdi;
    std::string format;
    std::optional<std::string> parent;
    bool hidden = false;
    std::uint64_t virtual_size = 0;
    bool operator==(const NodeVersion&) const = default;
};

struct Event {
    std::int64_t time = 0;
    std::string severity;
    std::string vdi; ///< empty where the event concerns the SR
    std::string text;
    bool operator==(const Event&) const = default;
};

/// An administrator's word that a chain shall be left alone.
struct Hold {
    std::int64_t id = 0; ///< given by add_hold, and never used twice
    std::string vdi;     ///< the whole chain through it is held
    std::string owner;
    std::string reason;
    std::int64_t created = 0;            ///< 0: add_hold takes the time from the clock
    std::optional<std::int64_t> expires; ///< holds below this time; nullopt: until it is released
    bool operator==(const Hold&) const = default;
};

/// A step that failed, and when it is tried again.
struct Retry {
    std::string vdi;
    std::string into; ///< empty for a collection
    std::string reason;
    std::string text;
    unsigned attempts = 0;  ///< counted by record_failure, whatever it is given
    std::int64_t since = 0; ///< of the first of these attempts; 0 takes the time from the clock
    std::int64_t next = 0;  ///< not before
    bool operator==(const Retry&) const = default;
};

/// What was last said of a VDI, and since when it has been so.
struct VerdictRecord {
    std::string vdi;
    std::string verdict;
    std::string reason;
    std::string text;
    std::int64_t since = 0;
    bool operator==(const VerdictRecord&) const = default;
};

/// How fast data of one kind moved.
struct SpeedSample {
    std::int64_t time = 0; ///< 0: record_speed takes the time from the clock
    std::string kind;      ///< "copied", "shared"
    Bytes bytes;
    double seconds = 0; ///< that it took
    bool operator==(const SpeedSample&) const = default;
};

/// A version of a node with the time in which it was seen.
struct NodeSpan {
    NodeVersion version;
    std::int64_t first_seen = 0;
    std::int64_t last_seen = 0; ///< exact to seen_resolution
    bool gone = false;          ///< a complete scan after last_seen did not find the VDI
    bool operator==(const NodeSpan&) const = default;
};

/// Which operations or events are wanted: those that fulfil all of it, newest first.
struct HistoryQuery {
    std::size_t limit = std::numeric_limits<std::size_t>::max();
    /// Operations that had not ended before this time; events of this time or later.
    std::optional<std::int64_t> since;
    /// Operations in which it takes part (merged, receiving, or read from); events that name it. Empty: all.
    std::string vdi;
};

// Bounds; the oldest go first. What has not ended, and the present tree, are never forgotten.

/// So many ended operations, so many events, and so many of the newest node versions are kept. Of older node versions
/// only the last one of each VDI stays.
inline constexpr std::size_t history_bound = 10'000;
inline constexpr std::size_t speeds_bound = 1'000;
/// Beyond the bound, the last version of a VDI that has been gone for so long goes as well (seconds; 400 days).
inline constexpr std::int64_t gone_bound = std::int64_t{400} * 24 * 3600;
/// A failure that was due for so long and not tried again has no step any more (seconds; 7 days).
inline constexpr std::int64_t retry_bound = std::int64_t{7} * 24 * 3600;
/// Scans that see nothing new are recorded no more often than this (seconds): each costs a write and a flush.
inline constexpr std::int64_t seen_resolution = 60;

class Journal {
public:
    enum class Create { yes, no };
    /// Opens `path`, making it and migrating older schemas. Throws UnusableJournal. With Create::no a missing file
    /// gives nullptr, and an existing one is opened without any write.
    ///
    /// `sr_key` names the SR that it must belong to. A journal that knows none yet (one of schema version 1) belongs to
    /// the first SR that opens it with Create::yes. Empty: the journal of any SR is right.
    ///
    /// One process must not open a file with Create::yes while it has it open with Create::no: SQLite shares the index
    /// of the log inside a process, and the reader's may be one that cannot be written.
    static std::unique_ptr<Journal> open(const std::string& path, Create create, const std::string& sr_key = {});
    virtual ~Journal() = default;

    virtual std::int64_t begin(const Operation& operation) = 0;
    virtual void advance(std::int64_t id, Bytes cursor, Bytes copied, Bytes shared) = 0;
    /// After changing a source ourselves.
    virtual void set_sources(std::int64_t id, const std::vector<Fingerprint>& sources) = 0;
    /// A later run goes on with it at its cursor.
    virtual void take_up(std::int64_t id) = 0;
    virtual void set_state(std::int64_t id, OperationState state, const std::string& error = {}) = 0;
    /// Neither done nor abandoned, oldest first.
    virtual std::vector<Operation> unfinished() const = 0;
    virtual std::vector<Operation> history(const HistoryQuery& query) const = 0;
    std::vector<Operation> history(std::size_t limit) const { return history(HistoryQuery{limit, {}, {}}); }

    virtual std::int64_t begin_edit(const std::string& image, const FileIdentity& identity, const HeaderEdit& edit,
                                    const std::vector<Overwrite>& before) = 0;
    virtual void end_edit(std::int64_t id) = 0;
    virtual std::vector<PendingEdit> pending_edits() const = 0;

    /// Adds versions for what changed since the last call and marks what is gone. `complete`: the scan saw everything.
    /// Where nothing changed it writes one row at most once in seen_resolution.
    virtual void record_tree(const std::vector<NodeVersion>& nodes, bool complete) = 0;
    /// The last version known of a VDI, also of one that is gone.
    virtual std::optional<NodeVersion> last_known(const std::string& vdi) const = 0;

    /// Versions of one VDI, or of all where it is empty, that were seen at or after `since`; oldest first.
    virtual std::vector<NodeSpan> versions(const std::string& vdi, std::int64_t since) const = 0;

    /// Returns the id. Forgets what had expired when this one was created.
    virtual std::int64_t add_hold(const Hold& hold) = 0;
    /// False where there is none of that id.
    virtual bool release_hold(std::int64_t id) = 0;
    /// Those that have not expired, in the order in which they were made.
    virtual std::vector<Hold> holds(std::int64_t now) const = 0;

    /// Settings by name, such as "pause"; nullopt removes one.
    virtual void set_setting(const std::string& name, const std::optional<std::string>& value) = 0;
    virtual std::optional<std::string> setting(const std::string& name) const = 0;

    /// Counts one more failure of the step (`vdi`, `into`); reason, text and `next` replace the former ones. Forgets
    /// failures that are not tried again (retry_bound, measured at `retry.next`).
    virtual void record_failure(const Retry& retry) = 0;
    virtual void forget_failure(const std::string& vdi, const std::string& into) = 0;
    /// What is due first comes first.
    virtual std::vector<Retry> retries() const = 0;

    /// Replaces what was said of all VDIs; `since` is kept where verdict and reason are as before, and `now` else. Only
    /// what differs is written. Throws std::logic_error where a VDI is named twice.
    virtual void record_verdicts(const std::vector<VerdictRecord>& verdicts, std::int64_t now) = 0;
    /// Sorted by VDI.
    virtual std::vector<VerdictRecord> verdicts() const = 0;

    /// The newest speeds_bound are kept.
    virtual void record_speed(const SpeedSample& sample) = 0;
    /// Newest first.
    virtual std::vector<SpeedSample> speeds(std::size_t limit) const = 0;

    virtual void record_event(const std::string& severity, const std::string& vdi, const std::string& text) = 0;
    virtual std::vector<Event> events(const HistoryQuery& query) const = 0;
    std::vector<Event> events(std::size_t limit) const { return events(HistoryQuery{limit, {}, {}}); }
};

} // namespace coppice::journal
