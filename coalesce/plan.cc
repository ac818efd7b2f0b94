#include "coalesce/plan.h"

#include "coalesce/plan_fit.h"
#include "coalesce/plan_freeze.h"
#include "coalesce/plan_groups.h"
#include "coalesce/plan_index.h"
#include "coalesce/plan_ways.h"

#include <algorithm>
#include <utility>

namespace coppice {

std::string_view to_string(StepKind kind) {
    switch (kind) {
    case StepKind::collect:
        return "collect";
    case StepKind::coalesce:
        return "coalesce";
    case StepKind::leaf_coalesce:
        return "leaf-coalesce";
    }
    return "";
}

std::string_view to_string(Direction direction) {
    return direction == Direction::down ? "down" : "up";
}

std::string_view to_string(Mode mode) {
    return mode == Mode::offline ? "offline" : "live";
}

Bytes Plan::copy_bytes() const {
    Bytes sum;
    for (const Step& step : steps)
        sum += step.copy_bytes;
    return sum;
}

Bytes Plan::space_freed() const {
    Bytes sum;
    for (const Step& step : steps)
        sum += step.space_freed;
    return sum;
}

std::vector<std::string> merge_candidates(const SrTree& tree, const Policy& policy) {
    const PlanIndex index{tree};
    const FrozenSet frozen{index, policy, {}};
    SkipList ignored{index};
    std::vector<std::string> result;
    for (const MergeGroup& group : find_structure(index, frozen, policy, ignored).groups)
        for (const std::size_t member : group.members)
            result.push_back(index.node(member).uuid);
    std::ranges::sort(result);
    return result;
}

namespace {

/// Only of candidates: what nobody wants to merge may be as it likes, and further facts do not change a plan.
FrozenSet::Refused refused_candidates(const SrTree& tree, const std::map<std::string, LayerFacts>& facts,
                                      const Policy& policy) {
    FrozenSet::Refused result;
    for (const std::string& vdi : merge_candidates(tree, policy)) {
        const auto found = facts.find(vdi);
        if (found != facts.end() && !found->second.check.mergeable) result.emplace(vdi, found->second.check);
    }
    return result;
}

} // namespace

Plan plan(const SrTree& tree, const std::map<std::string, LayerFacts>& facts, Bytes free_space, const Policy& policy) {
    const PlanIndex index{tree};
    const FrozenSet frozen{index, policy, refused_candidates(tree, facts, policy)};
    SkipList skipped{index};
    const Structure structure = find_structure(index, frozen, policy, skipped);
    auto priced = price_groups(index, structure.groups, facts, policy, skipped);
    auto steps = fitting_steps(index, structure.garbage, std::move(priced), facts, free_space, policy, skipped);
    return {std::move(steps), skipped.list()};
}

} // namespace coppice
