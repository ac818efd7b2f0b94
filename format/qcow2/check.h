// The verdict on one QCOW2 image: everything that refers to a cluster is walked, references are compared with the
// stored counts and COPIED flags, structures must not overlap or lead out of the file, compressed clusters must
// decompress.
//
// More is found than by `qemu-img check` 7.2, which misses the zero flag in version 2, bit 0 of extended entries and
// compressed data that is none. An image that somebody writes to looks damaged.
#pragma once

#include "format/check.h"

namespace coppice::qcow2 {

CheckReport check(const BlockDevice& device, CheckDepth depth = CheckDepth::content);

} // namespace coppice::qcow2
