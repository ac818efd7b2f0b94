// A QCOW2 image as the receiver of a merge.
//
// Counts are verified when it is made. Version 2 and 3, standard and extended L2, any width of counts; compressed
// clusters are replaced by plain ones where they are written to. Internal snapshots, data files and encryption are
// refused. Memory: the tables of Writable and some 16 MiB of buffers.
#pragma once

#include "format/image.h"
#include "format/merge_target.h"

#include <memory>

namespace coppice::qcow2 {

/// Reads only. Throws Unsupported, CorruptImage or Refused where the image must not be written to. `device` and `log`
/// outlive the target.
std::unique_ptr<MergeTarget> merge_target(BlockDevice& device, EditLog& log);

} // namespace coppice::qcow2
