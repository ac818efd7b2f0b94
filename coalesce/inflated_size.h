// What a disk's volume has to have for its guest to write everywhere.
#pragma once

#include "format/image.h"
#include "format/target_space.h"

namespace coppice {

/// Where an image ends that was like `space`, when its guest has written to all of its `virtual_size`. Throws as
/// TargetSpace::end_after() does.
Bytes end_when_full(const TargetSpace& space, Bytes virtual_size);

/// The same of the volume that holds it: what sm gives to such a disk, and more where that is too little. sm takes
/// every QCOW2 image for one with clusters of 64 KiB and without leaks or holes. Not rounded to the extents of a group.
Bytes inflated_size(Format format, const TargetSpace& space, Bytes virtual_size);

} // namespace coppice
