// How far a hold reaches where links are in the middle of a change: to what reads through the VDI held, and to what it
// reads through.
#pragma once

#include "coalesce/plan.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice {

/// Who holds the chain of one of `uuids` and why, for people; nullopt: nobody. VDIs that are not in the tree count by
/// their name alone.
std::optional<std::string> hold_on(const SrTree& tree, const Policy& policy, const std::vector<std::string>& uuids);

} // namespace coppice
