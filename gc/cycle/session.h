// One SR as one run of the program works on it: wires the real storage, journal, locks and host to a cycle.
//
// With Intent::look nothing is ever written: no journal is made, no lock file, no image is touched.
#pragma once

#include "format/base/error.h"
#include "gc/base/sr_name.h"
#include "gc/cycle/cycle.h"
#include "gc/sm/sm_gate.h"

#include <memory>
#include <string>

namespace coppice {

struct SessionOptions {
    std::string state_dir;  ///< holds <key>/journal.db
    std::string run_dir;    ///< holds <key>.lock
    bool exclusive = false; ///< the user says that no other host uses this SR
    bool discard = false;   ///< extents that become free on LVM are discarded
    Snapshots snapshots = Snapshots::left_to_sm;
    unsigned threads = 2;
};

/// The journal could not be used and was set aside; nothing else was changed. The next session starts a new one.
class JournalSetAside : public Error {
public:
    using Error::Error;
};

class Session {
public:
    enum class Intent { look, change };

    /// Intent::change takes the SR's lock (Busy names who works) and opens the journal (journal::UnusableJournal), and
    /// throws Refused("in-use-elsewhere") on a file system that other hosts may use, unless options.exclusive.
    /// `verb` is told to whoever comes second.
    Session(const SrLocation& sr, const SessionOptions& options, Intent intent, const std::string& verb);
    ~Session();

    SrTree tree();
    Observation survey();
    Plan plan(Director& director, Observation* seen = nullptr);
    Outcome run(Director& director, const MergeOptions& merge, std::optional<Bytes> rate, Progress& progress,
                std::stop_token stop);
    /// Null where there is none and the session only looks.
    journal::Journal* journal() const;
    /// How long sm's lock of the SR was held by this session; zeros where there is no sm.
    HoldTimes sr_hold_times() const;

private:
    void recover_storage(const std::stop_token& stop);

    struct Parts;
    std::unique_ptr<Parts> parts_;
};

/// Under which the SR's journal and lock stand: its UUID, or a name made of its directory.
std::string state_key(const SrLocation& sr);

} // namespace coppice
