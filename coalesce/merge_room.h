// Sizes of volumes around a merge, where the storage keeps images in volumes. Without effect elsewhere.
#pragma once

#include "coalesce/merge_context.h"

namespace coppice {

/// Gives the target of `step` the room that the merge takes at any moment, and no more. Enters the SR where it has to
/// grow. Throws Refused("no-space").
void make_room_for(const Step& step, const SrTree& tree, MergeContext& context);

/// Whether the disk whose name `step` keeps has room for every write of its guest, as sm gives it to all disks but
/// snapshots; asked before the names are exchanged.
bool is_inflated(const Step& step, const SrTree& tree, const Storage& storage);

/// What is left of `step` gets the size that sm gives to such an image: a hidden one no more than it needs; a disk,
/// where it had room for every write, that room again.
void settle_size(const Step& step, bool inflated, MergeContext& context);

} // namespace coppice
