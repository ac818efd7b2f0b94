// What a disk's volume has to have for its guest to write everywhere.
#pragma once

#include "format/image.h"
#include "format/target_space.h"

namespace coppice {

/// The size of a volume for an image like `space`: what sm gives to such a disk, and more where that is too little. sm
/// takes every QCOW2 image for one with clusters of 64 KiB and without leaks or holes. Not rounded to the extents of a
/// group. Throws as TargetSpace::end_when_full() does.
Bytes inflated_size(Format format, const TargetSpace& space, Bytes virtual_size);

} // namespace coppice
