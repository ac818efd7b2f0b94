#include "coalesce/explain_relation.h"

#include <algorithm>

namespace coppice {

TreeRelations::TreeRelations(const PlanIndex& index)
    : index_{index}, enter_(index.size(), PlanIndex::none), leave_(index.size(), PlanIndex::none),
      users_(index.size()) {
    number_nodes();
    find_users();
}

void TreeRelations::number_nodes() {
    std::size_t clock = 0;
    struct Visit {
        std::size_t place;
        std::size_t next_child;
    };
    std::vector<Visit> way;
    for (std::size_t root = 0; root < index_.size(); ++root) {
        if (index_.parent(root) != PlanIndex::none) continue;
        way.push_back({root, 0});
        enter_[root] = clock++;
        while (!way.empty()) {
            const auto children = index_.children(way.back().place);
            if (way.back().next_child == children.size()) {
                leave_[way.back().place] = clock++;
                way.pop_back();
                continue;
            }
            const std::size_t child = children[way.back().next_child++];
            enter_[child] = clock++;
            way.push_back({child, 0});
        }
    }
}

void TreeRelations::find_users() {
    for (std::size_t place = 0; place < index_.size(); ++place) {
        if (index_.node(place).openers.empty()) continue;
        // Whoever is full has filled everything beneath it, too: each node is passed at most `most_users` times.
        for (std::size_t at = place; at != PlanIndex::none; at = index_.parent(at)) {
            auto& users = users_[at];
            const bool been_here = !users.empty() && users.back() == place; // all around a cycle
            if (users.size() == most_users || been_here) break;
            users.push_back(place);
        }
    }
}

Relation TreeRelations::relation(std::size_t other, std::size_t place) const {
    if (other == place) return Relation::same;
    if (enter_[other] == PlanIndex::none || enter_[place] == PlanIndex::none) return Relation::depends_by_suspect;
    const auto encloses = [this](std::size_t outer, std::size_t inner) {
        return enter_[outer] < enter_[inner] && leave_[inner] < leave_[outer];
    };
    if (encloses(place, other)) return Relation::reads_through_it;
    if (encloses(other, place)) return Relation::it_reads_through;
    return Relation::depends_by_suspect;
}

} // namespace coppice
