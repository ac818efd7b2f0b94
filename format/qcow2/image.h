// A QCOW2 image of version 2 or 3, with standard or extended L2 entries, deflate or zstd.
//
// Opening reads the header only; tables are read when they are asked for, and only a few stay in memory.
#pragma once

#include "format/image.h"

namespace coppice::qcow2 {

/// Throws CorruptImage or Unsupported with the reason.
std::unique_ptr<Image> open(std::unique_ptr<BlockDevice> device);

} // namespace coppice::qcow2
