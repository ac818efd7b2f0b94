// The order of a plan: steps one after the other so that each has the room that it needs, given what those before it
// take and give back; where no way of a group fits at once, in slices.
#pragma once

#include "coalesce/plan_ways.h"

#include <map>
#include <string>
#include <vector>

namespace coppice {

/// `garbage` first. Says in `skipped` of the groups that do not fit what would have to be free.
std::vector<Step> fitting_steps(const PlanIndex& index, const std::vector<std::size_t>& garbage,
                                std::vector<PricedGroup> groups, const std::map<std::string, LayerFacts>& facts,
                                Bytes free_space, const Policy& policy, SkipList& skipped);

} // namespace coppice
