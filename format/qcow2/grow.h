// Enlarges the guest's disk of a QCOW2 image.
//
// The new range reads as zeros at every moment: what old entries or the tail of the last cluster hold behind the former
// end, and what lies beneath, is covered before the size changes. The size itself is one write of the first sector.
#pragma once

#include "format/merge_target.h"
#include "format/qcow2/writable.h"

namespace coppice::qcow2 {

/// `size` is a multiple of 512. Durable on return. Throws Refused("virtual-size") where the L1 table would become
/// larger than other programs open, NoSpace where it does not fit.
void grow(Writable& image, Bytes size, const Beneath& beneath, DataMover& mover);

} // namespace coppice::qcow2
