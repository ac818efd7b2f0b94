// Blocks that leave a dynamic or differencing VHD, the last ones of the file first.
#pragma once

#include "format/tail_space.h"
#include "format/vhd/headers.h"

#include <memory>

namespace coppice::vhd {

/// Of an image whose headers have been read.
std::unique_ptr<const TailSpace> tail_space(const BlockDevice& device, const Headers& headers, const Bat& bat);

/// Makes the blocks of `guest`, whole ones, unallocated. Both footers stay, the primary at the end of the device. Throws
/// as WritableDisk does.
void forget(BlockDevice& device, EditLog& log, const RangeList& guest);

} // namespace coppice::vhd
