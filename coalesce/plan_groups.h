// The structural half of the planner: what is garbage, and which images can become one, before anything is priced.
#pragma once

#include "coalesce/plan.h"
#include "coalesce/plan_freeze.h"
#include "coalesce/plan_index.h"

#include <map>
#include <string>
#include <vector>

namespace coppice {

/// Images of one chain that can become one: each but the first is hidden and has the one before it as its only child.
struct MergeGroup {
    enum class Top {
        leaf,          ///< a visible leaf: keeps its UUID whatever happens
        visible_inner, ///< a visible node with children: nothing but its parent may change
        hidden,
    };
    std::vector<std::size_t> members; ///< newest first, at least two
    Top top = Top::hidden;
    std::vector<std::size_t> top_children; ///< of members.front(), sorted
    std::size_t beneath = PlanIndex::none; ///< parent of members.back()
};

/// What keeps a node from taking part; the fields are those of Skipped.
struct Obstacle {
    std::string reason;
    std::string text;
    std::string cause;
    Bytes space_needed;
};

/// Reasons by node; the first one given for a node stands.
class SkipList {
public:
    explicit SkipList(const PlanIndex& index) : index_{index} {}

    void add(std::size_t place, Obstacle obstacle);
    void add(const MergeGroup& group, const Obstacle& obstacle);
    /// Forgets what was said of a node that does take part.
    void remove(std::size_t place) { skipped_.erase(place); }
    /// Sorted by vdi.
    std::vector<Skipped> list() const;

private:
    const PlanIndex& index_;
    std::map<std::size_t, Skipped> skipped_;
};

struct Structure {
    std::vector<std::size_t> garbage; ///< children before parents
    std::vector<MergeGroup> groups;   ///< on the tree as it is once the garbage is gone; in order of their first member
};

/// O(n log n). Says in `skipped` why nodes are not part of the result.
Structure find_structure(const PlanIndex& index, const FrozenSet& frozen, const Policy& policy, SkipList& skipped);

} // namespace coppice
