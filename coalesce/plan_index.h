// An SrTree with its edges in both directions, by position in SrTree::nodes. Built once per plan in O(n log n).
#pragma once

#include "coalesce/sr_tree.h"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace coppice {

class PlanIndex {
public:
    static constexpr std::size_t none = ~std::size_t{0};

    /// `tree` must outlive it.
    explicit PlanIndex(const SrTree& tree);

    std::size_t size() const { return tree_.nodes.size(); }
    bool complete() const { return tree_.complete; }
    const TreeNode& node(std::size_t place) const { return tree_.nodes[place]; }
    /// `none` for a root and where the parent is not part of the tree.
    std::size_t parent(std::size_t place) const { return parent_[place]; }
    /// Sorted.
    std::span<const std::size_t> children(std::size_t place) const;
    /// `none` where there is no such node.
    std::size_t find(const std::string& uuid) const;
    /// Whether following parents from `place` comes back to it.
    bool on_cycle(std::size_t place) const { return on_cycle_[place]; }

private:
    void find_cycles();

    const SrTree& tree_;
    std::vector<std::size_t> parent_;
    std::vector<std::size_t> first_child_; ///< of node i: child_[first_child_[i] .. first_child_[i + 1])
    std::vector<std::size_t> child_;
    std::vector<bool> on_cycle_;
};

} // namespace coppice
