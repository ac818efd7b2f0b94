// How an image grows when it is written to: what a planner must know to bound the space of a merge before it begins.
// Every number is an upper bound, so that a plan that fits is a merge that fits.
#pragma once

#include "format/base/units.h"

namespace coppice {

struct TargetShape {
    Bytes unit = 4_KiB;      ///< what is allocated at once: VHD block, QCOW2 cluster, block of the file system
    Bytes fill_unit = 512_B; ///< what is mapped at once: VHD sector, QCOW2 cluster or subcluster
    Bytes unit_overhead;     ///< metadata that comes with each new unit (VHD: sector bitmap and gap; QCOW2: refcounts)
    Bytes table_covers;      ///< guest bytes under one second-level table; 0 where there is none
    Bytes table_size;        ///< its size in the file
    Bytes index_covers;   ///< guest bytes per entry of the table that grows with the disk (BAT, L1); 0: there is none
    Bytes fixed_overhead; ///< what any growth at all may cost once (QCOW2: a refcount block, a moved refcount table)
    bool marks_zeros = false; ///< aligned zeros are a mark in a table and take no unit
    Bytes largest_virtual_size{~0ULL};

    bool operator==(const TargetShape&) const = default;
};

} // namespace coppice
