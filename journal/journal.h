// What coppice remembers of one SR, in SQLite: the tree over time, operations with their cursors, edits of image
// headers that may be half done, and events. Losing it loses history, never data.
//
// WAL with synchronous=FULL: when a call that changes something returns, the change survives a power cut. Calls come
// from one thread. SQLite's exceptions are translated to Error here.
#pragma once

#include "format/base/block_device.h"
#include "format/base/error.h"
#include "format/base/header_edit.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coppice::journal {

/// The file is no journal, is damaged, or belongs to a newer version. Nothing was changed in it.
class UnusableJournal : public Error {
public:
    enum class Cause { newer, damaged };
    UnusableJournal(Cause cause, const std::string& path, const std::string& text);
    Cause cause() const { return cause_; }

private:
    Cause cause_;
};

/// An image as an operation found it when it began.
struct Fingerprint {
    std::string vdi;
    FileIdentity identity;
    bool operator==(const Fingerprint&) const = default;
};

enum class OperationState { running, merged, relinking, done, abandoned };

/// One executed step. `step` is the step as JSON, so that it can be finished without planning again.
struct Operation {
    std::int64_t id = 0;
    std::string kind; ///< "collect", "coalesce", "leaf-coalesce"
    std::string vdi;
    std::string into;
    std::string direction; ///< "down", "up"
    std::string step;
    OperationState state = OperationState::running;
    Bytes cursor; ///< guest bytes below it are durable in the target
    Bytes copied_bytes;
    Bytes shared_bytes;
    std::vector<Fingerprint> sources; ///< must be unchanged for the cursor to count
    std::int64_t started = 0;         ///< seconds since 1970-01-01
    std::optional<std::int64_t> ended;
    std::string error; ///< of an abandoned one
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
    std::int64_t time = 0; ///< seconds since 1970-01-01
    std::string severity;
    std::string vdi; ///< empty where the event concerns the SR
    std::string text;
    bool operator==(const Event&) const = default;
};

/// So many ended operations, and so many events, are kept; the oldest go first.
inline constexpr std::size_t history_bound = 10'000;

class Journal {
public:
    enum class Create { yes, no };
    /// Opens `path`, making it and migrating older schemas. Throws UnusableJournal. With Create::no a missing file
    /// gives nullptr, and an existing one is opened without any write.
    static std::unique_ptr<Journal> open(const std::string& path, Create create);
    virtual ~Journal() = default;

    virtual std::int64_t begin(const Operation& operation) = 0;
    virtual void advance(std::int64_t id, Bytes cursor, Bytes copied, Bytes shared) = 0;
    /// After changing a source ourselves.
    virtual void set_sources(std::int64_t id, const std::vector<Fingerprint>& sources) = 0;
    virtual void set_state(std::int64_t id, OperationState state, const std::string& error = {}) = 0;
    /// Neither done nor abandoned, oldest first.
    virtual std::vector<Operation> unfinished() const = 0;
    /// Newest first, at most `limit`.
    virtual std::vector<Operation> history(std::size_t limit) const = 0;

    virtual std::int64_t begin_edit(const std::string& image, const FileIdentity& identity, const HeaderEdit& edit,
                                    const std::vector<Overwrite>& before) = 0;
    virtual void end_edit(std::int64_t id) = 0;
    virtual std::vector<PendingEdit> pending_edits() const = 0;

    /// Adds versions for what changed since the last call and marks what is gone. `complete`: the scan saw everything.
    virtual void record_tree(const std::vector<NodeVersion>& nodes, bool complete) = 0;
    /// The last version known of a VDI, also of one that is gone.
    virtual std::optional<NodeVersion> last_known(const std::string& vdi) const = 0;

    virtual void record_event(const std::string& severity, const std::string& vdi, const std::string& text) = 0;
    /// Newest first, at most `limit`.
    virtual std::vector<Event> events(std::size_t limit) const = 0;
};

} // namespace coppice::journal
