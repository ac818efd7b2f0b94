// Which steps of a plan go on although it is not the time for them: the half of admit() that looks at trees and space.
#pragma once

#include "coalesce/plan.h"

#include <string>
#include <vector>

namespace coppice {

struct Urgent {
    std::vector<bool> steps;          ///< for each step of the plan, whether it goes on
    std::vector<std::string> dangers; ///< why, a sentence each; empty where none goes on
};

/// The rules are those of admit(). What it names can be carried out in the order of the plan without the other steps.
Urgent find_urgent(const Plan& plan, const SrTree& tree, Bytes free, std::size_t danger_depth);

} // namespace coppice
