// Makes empty VHDs, laid out as blktap lays them out.
#pragma once

#include "format/base/block_device.h"
#include "format/image.h"
#include "format/vhd/header.h"

#include <optional>

namespace coppice::vhd {

struct NewDisk {
    Bytes virtual_size; ///< whole sectors; blktap itself makes multiples of 2 MiB
    Uuid uuid = Uuid::random();
    std::int64_t created = 0;        ///< seconds since 1970-01-01
    std::optional<NewParent> parent; ///< then the disk is differencing
    bool hidden = false;
    Bytes reserved_size{}; ///< table and batmap have room for a disk of this size
    Bytes block_size = usual_block_size;
};

/// Into an empty file, or over a block device, whose last sector gets the primary footer. Durable on return. Throws
/// Refused("virtual-size") above the product's limit, NoSpace where a device is too small.
void create(BlockDevice& device, const NewDisk& disk);
/// `parent`, `reserved_size` and `block_size` do not count. The guest's bytes are zeros.
void create_fixed(BlockDevice& device, const NewDisk& disk);

} // namespace coppice::vhd
