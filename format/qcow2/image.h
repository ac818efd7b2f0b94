// A QCOW2 image of version 2 or 3.
#pragma once

#include "format/image.h"

namespace coppice::qcow2 {

/// Throws CorruptImage or Unsupported with the reason.
std::unique_ptr<Image> open(std::unique_ptr<BlockDevice> device);

} // namespace coppice::qcow2
