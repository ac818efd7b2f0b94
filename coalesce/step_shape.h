// Whether the trees still have the shape that a merge was planned for.
#pragma once

#include "coalesce/plan.h"
#include "coalesce/sr_tree.h"

namespace coppice {

/// The plan was made a while ago: looks again at every link that `step`, a merge, relies on. Throws Refused or
/// NotFound.
void require_shape(const Step& step, const SrTree& tree);

/// The image under whose name `step`, a merge, is announced: one of every chain that the images written to are part of,
/// for as long as the merge goes on. Not a leaf that is poured down: a snapshot gives its content another name, and
/// the snapshot's own chain then holds only that.
const std::string& announced_image(const Step& step);

} // namespace coppice
