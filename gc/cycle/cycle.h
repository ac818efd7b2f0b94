// The cycle observe → plan → act of one SR, over whatever storage, journal and world it is given.
//
// Used by one thread. Without a journal it only looks: observe() and plan() write nothing at all.
#pragma once

#include "coalesce/merge_context.h"
#include "coalesce/plan.h"
#include "coalesce/recover.h"
#include "gc/cycle/director.h"
#include "gc/sm/sm_replay.h"

#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace coppice {

/// What a look at the SR has found.
struct Observation {
    SrTree tree;
    std::map<std::string, LayerFacts> facts; ///< of the merge candidates
    Bytes free;
    Bytes total; ///< of the storage
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

/// What two runs of one order have done together, where the first was interrupted: a step that failed and was tried
/// again counts as it ended.
Outcome joined(Outcome earlier, Outcome later);

class Cycle {
public:
    /// Everything outlives the cycle. `journal` may be null for a cycle that only looks.
    Cycle(Storage& storage, journal::Journal* journal, Occupancy& occupancy, TreeSource& trees)
        : Cycle{storage, journal, occupancy, trees, open_gate_} {}
    /// Of an SR that others know of.
    Cycle(Storage& storage, journal::Journal* journal, Occupancy& occupancy, TreeSource& trees, SrGate& gate,
          Snapshots snapshots = Snapshots::left_to_sm)
        : storage_{storage}, journal_{journal}, occupancy_{occupancy}, trees_{trees}, gate_{gate}, snapshots_{
                                                                                                       snapshots} {}
    Cycle(const Cycle&) = delete;
    Cycle& operator=(const Cycle&) = delete;

    /// The trees, with users of every image; without reading maps.
    SrTree tree();
    Observation observe(const Policy& policy);
    /// As observe(), with the facts of all images that can be read, their exact ends among them.
    Observation survey();
    /// What run() would do now; `seen` is what it follows from.
    Plan plan(Director& director, Observation* seen = nullptr);

    /// Recovers, then observes, plans and acts until nothing is left to do. One tree's failure never stops another.
    /// A stop ends it between two batches, with `stopped` set.
    Outcome run(Director& director, const MergeOptions& merge, std::optional<Bytes> rate, Progress& progress,
                std::stop_token stop);
    Outcome run(const Policy& policy, const MergeOptions& merge, std::optional<Bytes> rate, Progress& progress,
                std::stop_token stop) {
        FixedDirector director{policy};
        return run(director, merge, rate, progress, std::move(stop));
    }

private:
    void find_facts(Observation& seen, const std::string& uuid, bool exact);
    void recover(Director& director, MergeContext& context, Outcome& outcome);
    /// Where a killed run could not: hidden images are read-only, as sm has it. Whether there were any.
    bool seal_bases(const Observation& seen, const std::stop_token& stop);
    Postponed postponed_by(Director& director);
    void fail(const Step& step, const std::exception& error, StepResult& result);
    void record_collection(const StepResult& result, std::int64_t began);
    void act(const Plan& plan, Director& director, MergeContext& context, Outcome& outcome);
    Plan next_plan(Director& director, const Policy& policy, const Observation& seen);
    void remember(const SrTree& tree);

    Storage& storage_;
    journal::Journal* journal_;
    Occupancy& occupancy_;
    TreeSource& trees_;
    OpenGate open_gate_;
    SrGate& gate_;
    Snapshots snapshots_ = Snapshots::left_to_sm;
    std::map<std::string, std::string> frozen_; ///< what recovery could not finish
};

} // namespace coppice
