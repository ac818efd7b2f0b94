// The verdict on one QCOW2 image.
#pragma once

#include "format/check.h"

namespace coppice::qcow2 {

CheckReport check(const BlockDevice& device);

} // namespace coppice::qcow2
