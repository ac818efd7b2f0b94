// The verdict on one VHD.
#pragma once

#include "format/check.h"

namespace coppice::vhd {

CheckReport check(const BlockDevice& device);

} // namespace coppice::vhd
