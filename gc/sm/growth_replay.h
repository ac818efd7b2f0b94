// Ends the growth of a raw parent on LVM that a collector was interrupted in: its volume is larger already, and what
// the new part held before is still to become zeros. sm does it when the same image grows again.
#pragma once

#include "gc/sm/sm_replay.h"

#include <string>

namespace coppice {

/// From the byte that the entry names, `action.from`, to the end: nothing was ever put there. In turns, in each of
/// which nobody has a disk open that reads through the image. A sentence for people.
std::string finish_growth(const ReplayAction& action, MergeContext& context);

} // namespace coppice
