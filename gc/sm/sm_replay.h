// Finishes or undoes what sm, an older collector or an earlier run of ours has left half done, by the tables of sm
// (docs/design/merge.md), for every format. First a plan as a value, then its execution.
//
// The plan looks at names, links and flags only. Where it matters whether a merge had moved all data, the execution
// compares what guests would read, because sm's entries and files are not flushed: after a power cut an entry may tell
// of data that never arrived.
#pragma once

#include "coalesce/merge_context.h"
#include "coalesce/recover.h"
#include "coalesce/sr_tree.h"

#include <map>
#include <string>
#include <vector>

namespace coppice {

struct ReplayAction {
    enum class Kind {
        remove_entry,    ///< the entry says nothing any more
        finish_relink,   ///< `vdi` was merged into `other`: relink its children and delete it, if its data is there
        undo_leaf,       ///< give leaf `vdi` and parent `other` their names back, hide the parent, remove the entry
        finish_leaf,     ///< `vdi` holds everything: remove the entry
        settle_exchange, ///< the names are exchanged: finish where the leaf shows what the one set aside does, or undo
        drop_set_aside,  ///< delete the leaf that was set aside, if `vdi` holds everything
        undo_snapshot,   ///< disk `vdi` gets its data, which became base `other`, back under its name
        finish_growth,   ///< raw `vdi` has become larger, and is to be zeros from byte `from` on
        finish_snapshot, ///< disk `vdi`, and the snapshot, stand on base `other`: hide that, remove the entry
    };
    Kind kind;
    std::string vdi;
    std::string other;  ///< the parent that `vdi` was merged into; empty where it is not known
    std::string entry;  ///< file name; empty where there is none
    std::string text;   ///< what was found, for the log
    std::string copy{}; ///< of a snapshot: the second child of the base; empty where there is none
    Bytes from{};       ///< of a growth

    bool operator==(const ReplayAction&) const = default;
};

struct ReplayPlan {
    std::vector<ReplayAction> actions;
    /// VDIs that nothing may touch because what was found of them fits no table, with the reason for people.
    std::map<std::string, std::string> frozen;

    bool operator==(const ReplayPlan&) const = default;
};

/// Who ends the snapshots that were cut short on LVM. Where XAPI is there sm does, with its next command on the SR: it
/// also makes the records of the snapshot, and takes marks off those of the disk.
enum class Snapshots { left_to_sm, replayed };

/// Of images only headers are read. Never throws for what is wrong with one image or entry.
ReplayPlan plan_replay(Storage& storage, const SrTree& tree, Snapshots snapshots = Snapshots::left_to_sm);

/// VDIs that an action is going to change: until then nothing else may.
std::map<std::string, std::string> pending_vdis(const ReplayPlan& plan);

struct ReplayOutcome {
    std::vector<std::string> notes;            ///< a sentence for each action
    std::vector<FailedRecovery> failed;        ///< the action as the step that it completes or undoes
    std::map<std::string, std::string> frozen; ///< of the plan, and what could not be done now
};

/// Every action is idempotent, and a crash between any two changes is found again by the next plan. An action that
/// cannot be done now, because somebody has an image open or the images do not prove what it needs, changes nothing.
///
/// The completion of a relinking that is `postponed` waits. What restores the names and flags of a disk does not: until
/// then the disk cannot be opened.
ReplayOutcome execute_replay(const ReplayPlan& plan, MergeContext& context, const Postponed& postponed);

/// The name in the tree of leaf `vdi` while it is set aside.
std::string set_aside_name(const std::string& vdi);

} // namespace coppice
