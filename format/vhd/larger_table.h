// Makes room for a larger block table, batmap and parent locators at the front of a VHD.
#pragma once

#include "format/base/data_mover.h"
#include "format/vhd/writable_disk.h"

namespace coppice::vhd {

/// The table has at least `blocks` entries afterwards, the map covers `virtual_size`. Blocks that stand in the way are
/// moved to the end, one by one, and the metadata area is rewritten by one logged edit. Guest bytes and virtual size
/// stay as they are. Throws NoSpace before anything has changed, Unsupported where the header is at an unusual place.
void enlarge_table(WritableDisk& disk, std::uint64_t blocks, Bytes virtual_size, DataMover& mover);

} // namespace coppice::vhd
