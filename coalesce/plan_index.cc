#include "coalesce/plan_index.h"

namespace coppice {

PlanIndex::PlanIndex(const SrTree& tree)
    : tree_{tree}, parent_(tree.nodes.size(), none), first_child_(tree.nodes.size() + 1, 0),
      on_cycle_(tree.nodes.size(), false) {
    for (std::size_t place = 0; place < size(); ++place)
        if (node(place).parent) parent_[place] = find(*node(place).parent);
    for (const std::size_t parent : parent_)
        if (parent != none) ++first_child_[parent + 1];
    for (std::size_t place = 0; place < size(); ++place)
        first_child_[place + 1] += first_child_[place];
    child_.resize(first_child_.back());
    std::vector<std::size_t> next = first_child_;
    for (std::size_t place = 0; place < size(); ++place)
        if (parent_[place] != none) child_[next[parent_[place]]++] = place;
    find_cycles();
}

std::span<const std::size_t> PlanIndex::children(std::size_t place) const {
    return std::span{child_}.subspan(first_child_[place], first_child_[place + 1] - first_child_[place]);
}

std::size_t PlanIndex::find(const std::string& uuid) const {
    const TreeNode* found = tree_.find(uuid);
    return found == nullptr ? none : static_cast<std::size_t>(found - tree_.nodes.data());
}

void PlanIndex::find_cycles() {
    // Each walk paints its nodes with its own number; meeting one's own paint again is a cycle.
    std::vector<std::size_t> walk(size(), none);
    for (std::size_t start = 0; start < size(); ++start) {
        std::size_t at = start;
        while (at != none && walk[at] == none) {
            walk[at] = start;
            at = parent_[at];
        }
        if (at == none || walk[at] != start) continue;
        for (std::size_t member = at; !on_cycle_[member]; member = parent_[member])
            on_cycle_[member] = true;
    }
}

} // namespace coppice
