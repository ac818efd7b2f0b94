// Finishes or undoes what sm, an older collector or an earlier run of ours has left half done on a file SR, by the
// tables of sm (docs/design/merge.md), for every format. First a plan as a value, then its execution.
#pragma once

#include "coalesce/merge_context.h"
#include "coalesce/sr_tree.h"

#include <map>
#include <string>
#include <vector>

namespace coppice {

struct ReplayAction {
    enum class Kind {
        remove_entry,  ///< the entry says nothing any more
        finish_relink, ///< relink the children of `vdi` to its parent, remove the entry, delete `vdi`
        undo_leaf,     ///< give leaf `vdi` and parent `other` their names back, hide the parent, remove the entry
        finish_leaf,   ///< `vdi` holds everything: remove the entry and the leaf that was set aside
    };
    Kind kind;
    std::string vdi;
    std::string other; ///< the parent of a leaf merge; empty where it is not known
    std::string entry; ///< file name; empty where there is none
    std::string text;  ///< why, for the log

    bool operator==(const ReplayAction&) const = default;
};

struct ReplayPlan {
    std::vector<ReplayAction> actions;
    /// VDIs that nothing may touch because what was found of them fits no table, with the reason for people.
    std::map<std::string, std::string> frozen;

    bool operator==(const ReplayPlan&) const = default;
};

/// Reads maps only where two images claim to be the same disk.
ReplayPlan plan_replay(Storage& storage, const SrTree& tree);

/// VDIs that an action is going to change: until then nothing else may.
std::map<std::string, std::string> pending_vdis(const ReplayPlan& plan);

struct ReplayOutcome {
    std::vector<std::string> notes;            ///< a sentence for each action
    std::map<std::string, std::string> frozen; ///< of the plan, and what could not be done now
};

/// Every action is idempotent, and a crash between any two changes is found again by the next plan.
ReplayOutcome execute_replay(const ReplayPlan& plan, MergeContext& context);

} // namespace coppice
