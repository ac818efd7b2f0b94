// Enlarges the virtual size of a dynamic or differencing VHD, and its block table where that has no room.
//
// Crash table (state after each step; what recovery does is always: apply the logged edit again, then grow again):
//   1. blocks in the way of a larger table, one by one: data at the new place | old entry counts
//   2. its table entry                                                       | new entry counts
//   3. the metadata area, one logged edit                                    | logged: applied again before anybody
//   reads
//   4. stale entries behind the former size made unallocated                 | invisible
//   5. zeros for what would show (old bits, parent)                          | invisible: behind the size
//   6. batmap bits behind the former size cleared                            | logged
//   7. primary footer, then the copy                                         | the primary counts, both are valid
#pragma once

#include "format/merge_target.h"
#include "format/vhd/writable_disk.h"

namespace coppice::vhd {

/// No effect where the disk is already as large. Throws Refused("virtual-size") above the product's limit.
void grow(WritableDisk& disk, Bytes virtual_size, const Beneath& beneath, DataMover& mover);

} // namespace coppice::vhd
