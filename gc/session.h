// One SR as one run of the program works on it: its storage, its journal, its locks, and the cycle observe → plan → act.
//
// Used by one thread. With Intent::look nothing is ever written: no journal is made, no lock file, no image is touched.
#pragma once

#include "coalesce/merge_context.h"
#include "coalesce/plan.h"
#include "format/base/directory_storage.h"
#include "gc/sr_name.h"

#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace coppice {

class SrLock;

struct SessionOptions {
    std::string state_dir; ///< holds <key>/journal.db
    std::string run_dir;   ///< holds <key>.lock
    bool exclusive = false; ///< the user says that no other host uses this SR
    unsigned threads = 2;
};

/// What a look at the SR has found.
struct Observation {
    SrTree tree;
    std::map<std::string, LayerFacts> facts; ///< of the merge candidates
    Bytes free;
    /// VDIs that nothing may touch, with the reason for people: entries of sm, header changes still to be completed.
    std::map<std::string, std::string> frozen;
};

/// What a cycle has done. Steps that recovery completed come first in `done`.
struct Outcome {
    std::vector<StepResult> done;
    std::vector<StepResult> failed;
    std::vector<Skipped> skipped;
    bool stopped = false;
};

class Session {
public:
    enum class Intent { look, change };

    /// Intent::change takes the SR's lock (Busy names who works) and opens the journal (journal::UnusableJournal), and
    /// throws Refused("in-use-elsewhere") on a file system that other hosts may use, unless options.exclusive.
    /// `verb` is told to whoever comes second.
    Session(const SrLocation& sr, const SessionOptions& options, Intent intent, const std::string& verb);
    ~Session();

    /// The trees, with users of every image; without reading maps.
    SrTree tree();
    Observation observe(const Policy& policy);
    Plan plan(const Policy& policy);

    /// Recovers, then observes, plans and acts until nothing is left to do. One tree's failure never stops another.
    /// A stop ends it between two batches, with `stopped` set.
    Outcome run(const Policy& policy, const MergeOptions& merge, std::optional<Bytes> rate, Progress& progress, std::stop_token stop);

    const SrLocation& location() const { return sr_; }
    Storage& storage() { return storage_; }

private:
    class Trees;

    void recover_all(MergeContext& context, Outcome& outcome);
    void act(const Plan& plan, MergeContext& context, Outcome& outcome);

    SrLocation sr_;
    SessionOptions options_;
    Intent intent_;
    DirectoryStorage storage_;
    std::unique_ptr<SrLock> lock_;
    std::unique_ptr<journal::Journal> journal_; ///< null with Intent::look where there is none
    std::unique_ptr<Occupancy> occupancy_;
    std::unique_ptr<Trees> trees_;
    std::map<std::string, std::string> frozen_;
};

/// Under which the SR's journal and lock stand: its UUID, or a name made of its directory.
std::string state_key(const SrLocation& sr);

} // namespace coppice
