// Where an image ends on a device that does not tell: behind the last cluster that is counted as used.
#pragma once

#include "format/qcow2/header.h"

namespace coppice::qcow2 {

/// At most the size of the device; all of it where the refcount table points at impossible places.
Bytes image_end(const BlockDevice& device, const Header& header);

} // namespace coppice::qcow2
