// The trees of an SR as text for a terminal, as a Graphviz graph, and as one self-contained SVG picture.
#pragma once

#include "coalesce/sr_tree.h"

#include <string>
#include <vector>

namespace coppice {

/// A node in the order in which trees are shown: parents before children, siblings by UUID.
struct TreeRow {
    const TreeNode* node;
    std::size_t depth;
    std::vector<bool> more; ///< for each level down to this one: whether a sibling follows; at most deepest_drawn long
    bool garbage;           ///< hidden, certainly nobody's parent, and held by nobody
};

/// Lines are drawn down to this depth; what is deeper stands at its place.
inline constexpr std::size_t deepest_drawn = 48;

/// Every node once, also those of which the parents form a circle. Valid as long as `tree`.
std::vector<TreeRow> tree_rows(const SrTree& tree);

/// What there is to say about a node besides its sizes: hidden, garbage, damaged, open.
std::vector<std::string> tree_flags(const TreeRow& row);

std::string tree_text(const SrTree& tree, const std::string& sr, bool color);
std::string tree_dot(const SrTree& tree, const std::string& sr);
std::string tree_svg(const SrTree& tree, const std::string& sr);

} // namespace coppice
