// What the actions of a replay have in common.
#pragma once

#include "coalesce/images.h"
#include "coalesce/locked_sr.h"
#include "gc/sm/sm_replay.h"

#include <initializer_list>
#include <set>
#include <string>

namespace coppice {

inline bool is_of_snapshot(const ReplayAction& action) {
    return action.kind == ReplayAction::Kind::undo_snapshot || action.kind == ReplayAction::Kind::finish_snapshot;
}

/// The file of an image like `node` under the name `uuid`.
std::string file_of(const std::string& uuid, const TreeNode& node);
/// Durably. No effect where the action has no entry.
void remove_entry(const ReplayAction& action, MergeContext& context);
void show_or_hide(MergeContext& context, const TreeNode& node, bool hidden);
/// Throws where one of the images is in use: better now than after half of the changes. Those that are null are left
/// out.
void require_free(MergeContext& context, std::initializer_list<const TreeNode*> nodes);
/// All that the action may change, whether it is there or not.
std::set<std::string> images_of(const ReplayAction& action);
/// Throws Refused("sm-operation") where the action is no longer what has to be done in `tree`.
void require_planned(const ReplayAction& action, MergeContext& context, const SrTree& tree);
/// Enters the SR, where the action is still what has to be done, over images that are to the byte those of `before`.
/// Throws Refused("sm-operation").
LockedSr enter_for(const ReplayAction& action, MergeContext& context, const SrTree& before);

} // namespace coppice
