// Changes of image headers that a merge ends with: parent links, hidden flags, and the exchange of names by which a
// leaf keeps its UUID. Each is idempotent, recorded before it is made, and durable when it returns.
#pragma once

#include "coalesce/images.h"
#include "coalesce/locked_sr.h"

#include <optional>
#include <string>

namespace coppice {

/// Makes `parent` the parent of `child`, or makes it a root. `child` is stale afterwards.
void relink(MergeContext& context, ClaimedImage& child, std::optional<NewParent> parent);

/// `image` is stale afterwards.
void set_hidden(MergeContext& context, ClaimedImage& image, bool hidden);

/// Deletes a hidden image that nothing refers to any more, newest first; what is gone already is passed over.
/// Enters the SR for it, as often as it takes. Throws Refused("siblings") where an image has a child after all, or is
/// visible.
void remove_emptied(MergeContext& context, const std::vector<std::string>& uuids);

/// Gives `merged`, which holds all that the leaf held, the leaf's name; the leaf is deleted, or, where an open object
/// cannot be removed, left for remove_set_aside(). The states in between are
/// those of sm (leaf journal, OLD_ name), so that sm or a later run finishes or undoes them.
/// Returns the images, still open: the space of the old leaf is freed when they are closed, best behind the passage.
std::vector<std::unique_ptr<ClaimedImage>> replace_leaf(MergeContext& context, const LockedSr& sr,
                                                        const std::string& leaf, const std::string& merged);
/// Removes the hidden "OLD_<leaf>" that replace_leaf() has left, in a passage of its own.
void remove_set_aside(MergeContext& context, const std::string& leaf);

} // namespace coppice
