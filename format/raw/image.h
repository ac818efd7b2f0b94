// A raw image: the guest's bytes as they are. It has no header, no parent and no hidden flag.
#pragma once

#include "format/check.h"
#include "format/image.h"

namespace coppice::raw {

std::unique_ptr<Image> open(std::unique_ptr<BlockDevice> device);
/// Any bytes are a sound raw image.
CheckReport check(const BlockDevice& device);

} // namespace coppice::raw
