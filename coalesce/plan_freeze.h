// Which nodes no step may touch, because of damage, doubt or somebody else's unfinished work near them.
//
// What is wrong with one node freezes it, everything that reads through it, everything it may read through, and nothing
// else: other trees and sibling subtrees go on (INV-5). A hold does the same. A node that is neither itself is told of
// the trouble near it rather than of the hold, because that stays when the hold has ended.
#pragma once

#include "coalesce/plan.h"
#include "coalesce/plan_index.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice {

class FrozenSet {
public:
    /// Reports by which merge candidates may not be merged, by uuid.
    using Refused = std::map<std::string, CheckReport>;

    /// Linear in the number of nodes.
    FrozenSet(const PlanIndex& index, const Policy& policy, const Refused& refused);

    bool contains(std::size_t place) const { return cause_[place] != PlanIndex::none; }
    /// The node itself is what is wrong, rather than one near it.
    bool is_cause(std::size_t place) const { return contains(place) && causes_[cause_[place]].place == place; }
    std::string reason(std::size_t place) const { return causes_[cause_[place]].reason; }
    /// Begins with the name of the cause where that is another node.
    std::string text(std::size_t place) const;
    const std::string& cause(std::size_t place) const { return index_.node(causes_[cause_[place]].place).uuid; }

private:
    struct Cause {
        std::size_t place;
        std::string reason;
        std::string text;
    };

    std::optional<Cause> find_cause(std::size_t place, const Policy& policy, const Refused& refused) const;
    void find_holds(const Policy& policy);
    void freeze_from(std::size_t first_cause);
    void freeze_ancestors(std::size_t place, std::size_t cause);
    void freeze_descendants(std::size_t place, std::size_t cause);
    void mark(std::size_t place, std::size_t cause);

    const PlanIndex& index_;
    std::vector<Cause> causes_;
    std::vector<std::size_t> cause_;     ///< per node: index into causes_
    std::vector<bool> ancestors_done_;   ///< the way from here to the root is frozen
    std::vector<bool> descendants_done_; ///< everything above here is frozen
};

/// Whether sm has set this leaf aside in the middle of a leaf coalesce.
bool is_set_aside(const TreeNode& node);

} // namespace coppice
