#include "coalesce/plan_ways.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace coppice {
namespace {

/// Takes the steps that have to wait off the end of a group's way.
void cut_delayed(std::vector<Step>& steps, const Policy& policy, const PlanIndex& index, SkipList& skipped) {
    const std::size_t first = first_delayed(steps, policy);
    if (first == steps.size()) return;
    const Step& delayed = steps[first];
    const Obstacle obstacle{"retry-later", "merging " + delayed.vdi + " into " + *delayed.into +
                                               " has to wait: " + policy.retry_later.at({delayed.vdi, *delayed.into})};
    for (std::size_t at = first; at < steps.size(); ++at) {
        for (const std::string& vdi : steps[at].emptied)
            skipped.add(index.find(vdi), obstacle);
        skipped.add(index.find(*steps[at].into), obstacle);
    }
    steps.resize(first);
}

long double gain(const std::vector<Step>& steps) {
    Bytes freed;
    Bytes copied{1};
    for (const Step& step : steps) {
        freed += step.space_freed;
        copied += step.copy_bytes;
    }
    return static_cast<long double>(freed.count()) / static_cast<long double>(copied.count());
}

} // namespace

std::size_t first_delayed(const std::vector<Step>& steps, const Policy& policy) {
    const auto found = std::ranges::find_if(steps, [&](const Step& step) {
        return policy.retry_later.contains({step.vdi, step.into.value_or("")});
    });
    return static_cast<std::size_t>(found - steps.begin());
}

std::vector<PricedGroup> price_groups(const PlanIndex& index, const std::vector<MergeGroup>& groups,
                                      const std::map<std::string, LayerFacts>& facts, const Policy& policy,
                                      SkipList& skipped) {
    std::vector<PricedGroup> result;
    for (const MergeGroup& group : groups) {
        const bool known = std::ranges::all_of(
            group.members, [&](std::size_t member) { return facts.contains(index.node(member).uuid); });
        if (!known) {
            skipped.add(group, {"image-unknown", "its allocation map has not been read"});
            continue;
        }
        const GroupPrice price{index, group, facts};
        auto options = price.options(policy);
        if (const auto* refused = std::get_if<GroupPrice::Refusal>(&options)) {
            skipped.add(group, {refused->reason, refused->text});
            continue;
        }
        PricedGroup entry{&group, std::get<std::vector<MergeOption>>(std::move(options))};
        entry.best = price.steps(entry.options.front());
        cut_delayed(entry.best, policy, index, skipped);
        if (entry.best.empty()) continue;
        entry.best_needs = free_needed(entry.best, index);
        entry.gain = gain(entry.best);
        result.push_back(std::move(entry));
    }
    return result;
}

} // namespace coppice
