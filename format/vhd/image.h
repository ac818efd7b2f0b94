// A VHD image: fixed, dynamic or differencing, of any creator.
#pragma once

#include "format/image.h"

namespace coppice::vhd {

/// Throws CorruptImage or Unsupported with the reason.
std::unique_ptr<Image> open(std::unique_ptr<BlockDevice> device);

} // namespace coppice::vhd
