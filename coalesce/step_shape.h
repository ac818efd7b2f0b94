// Whether the trees still have the shape that a merge was planned for.
#pragma once

#include "coalesce/plan.h"
#include "coalesce/sr_tree.h"

namespace coppice {

/// The plan was made a while ago: looks again at every link that `step`, a merge, relies on. Throws Refused or
/// NotFound.
void require_shape(const Step& step, const SrTree& tree);

} // namespace coppice
