// Ends a snapshot on LVM that sm was interrupted in: it had renamed a disk to a base, and made one or two children of
// it.
//
// Source: sm 3.2.12, the replay of `clone` entries. It undoes by deleting what stands under the names of the children,
// whatever that is; here the children have to be empty, or were never written.
#pragma once

#include "gc/sm/sm_replay.h"

#include <string>

namespace coppice {

/// Deletes the children, and gives the base the name and the room of the disk. Every step leads to a state of which the
/// plan makes this action again, or only the removal of the entry. Throws Refused("sm-operation") where a child holds
/// data. A sentence for people.
std::string undo_snapshot(const ReplayAction& action, MergeContext& context);
/// The base becomes what sm makes of it, hidden and read-only. A sentence for people.
std::string finish_snapshot(const ReplayAction& action, MergeContext& context);

/// Whether nothing was ever written where the image `node` should be: a volume that was made, and no more.
bool is_blank(Storage& storage, const TreeNode& node);

} // namespace coppice
