// Takes guest clusters out of a QCOW2 image, and out of its file what was needed only for them.
//
//   entries of L2 tables, L1 entries of tables that map nothing any more → flush
//   counts of what they named go down                                    → flush
//   refcount blocks at the end that count only themselves go             → flush, for each one that another one counts
//
// A crash in between leaves leaks, which the next writer gives back.
#pragma once

#include "format/base/header_edit.h"
#include "format/range_list.h"

namespace coppice::qcow2 {

/// `guest`: whole clusters. Bitmaps are dropped first, as before every write. Throws what merge_target() throws.
void forget(BlockDevice& device, EditLog& log, const RangeList& guest);

} // namespace coppice::qcow2
