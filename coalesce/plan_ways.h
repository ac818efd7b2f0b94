// The ways in which each group can be merged, priced: what the planner chooses from.
#pragma once

#include "coalesce/plan_groups.h"
#include "coalesce/plan_price.h"

#include <map>
#include <string>
#include <vector>

namespace coppice {

/// A group with what was found out about it, until it is in the plan or given up.
struct PricedGroup {
    const MergeGroup* group = nullptr;
    std::vector<MergeOption> options;
    std::vector<Step> best; ///< of options.front(), up to the first that is delayed
    Bytes best_needs;
    long double gain = 0; ///< bytes freed for each byte copied
};

/// Those that can be merged. Says in `skipped` why others cannot, and what of a way has to wait.
std::vector<PricedGroup> price_groups(const PlanIndex& index, const std::vector<MergeGroup>& groups,
                                      const std::map<std::string, LayerFacts>& facts, const Policy& policy,
                                      SkipList& skipped);

/// Index of the first step that failed lately; those behind it build upon it. The number of steps where none did.
std::size_t first_delayed(const std::vector<Step>& steps, const Policy& policy);

} // namespace coppice
