// How the nodes of a tree stand to each other, answered in constant time: what explain() needs to say of a VDI that is
// in the way of another.
#pragma once

#include "coalesce/plan_index.h"

#include <cstddef>
#include <span>
#include <vector>

namespace coppice {

enum class Relation {
    same,
    reads_through_it,   ///< the other reads through this one
    it_reads_through,   ///< this one reads through the other
    depends_by_suspect, ///< the other is suspected to, or both are part of a circle
};

class TreeRelations {
public:
    explicit TreeRelations(const PlanIndex& index);

    /// How `other` stands to `place`.
    Relation relation(std::size_t other, std::size_t place) const;
    /// Nodes that have openers: `place` itself and what reads through it, at most `most_users`.
    std::span<const std::size_t> users(std::size_t place) const { return users_[place]; }
    static constexpr std::size_t most_users = 8;

private:
    void number_nodes();
    void find_users();

    const PlanIndex& index_;
    std::vector<std::size_t> enter_; ///< in a walk from the roots: `none` for what hangs on a cycle
    std::vector<std::size_t> leave_;
    std::vector<std::vector<std::size_t>> users_;
};

} // namespace coppice
