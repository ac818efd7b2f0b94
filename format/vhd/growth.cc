#include "format/vhd/growth.h"

#include "format/base/error.h"
#include "format/vhd/block_batch.h"
#include "format/vhd/larger_table.h"

#include <algorithm>
#include <array>

namespace coppice::vhd {
namespace {

// Explicit zeros are written in batches of this many guest bytes.
constexpr Bytes zero_batch = 64_MiB;

void write_zeros(WritableDisk& disk, ByteRange guest, const Beneath& beneath, DataMover& mover) {
    while (guest.begin < guest.end) {
        const Bytes end = std::min(guest.end, guest.begin + zero_batch);
        const std::array writes{GuestWrite{{guest.begin, end}, GuestWrite::Source::zeros, nullptr, 0_B, {}}};
        BlockBatch batch{disk, writes, [&](ByteRange range) {
                             return beneath.now.may_hold_data(range) || beneath.after.may_hold_data(range);
                         }};
        batch.carry_out(mover);
        guest.begin = end;
    }
}

/// Bits of blocks that become visible, and map bytes that join the summed range, must be zero.
void clear_batmap_behind(WritableDisk& disk, std::uint64_t former_blocks, Bytes virtual_size) {
    if (!disk.batmap()) return;
    Batmap batmap = *disk.batmap();
    for (std::uint64_t block = former_blocks; block < batmap.map().size() * 8; ++block)
        batmap.set_full(block, false);
    const Bytes range = batmap_range(virtual_size);
    const Bytes former_range{batmap.map().size()};
    batmap =
        batmap.moved(batmap.header_offset(), static_cast<std::uint32_t>(batmap.map_size() / sector_size), virtual_size);
    if (range < former_range) throw std::logic_error{"a disk does not shrink"};
    disk.store_batmap(batmap);
}

} // namespace

void grow(WritableDisk& disk, Bytes virtual_size, const Beneath& beneath, DataMover& mover) {
    const Bytes former = disk.layout().virtual_size;
    if (virtual_size <= former) return;
    virtual_size = round_up(virtual_size, sector_size);
    if (virtual_size > largest_virtual_size)
        throw Refused{"virtual-size", disk.name(), "a VHD cannot be larger than 2040 GiB"};
    const std::uint64_t former_blocks = disk.layout().blocks;
    const std::uint64_t blocks = blocks_for(virtual_size, disk.layout().block_size);
    if (blocks > most_blocks) throw Unsupported{disk.name(), "too many blocks of this size"};
    const bool map_too_small = disk.batmap() && batmap_range(virtual_size) > disk.batmap()->map_size();
    if (blocks > disk.layout().table_entries || map_too_small) enlarge_table(disk, blocks, virtual_size, mover);

    disk.expose_blocks(blocks);
    // The rest of the last block, in which this disk may map sectors itself, and whatever the layers below reach into.
    const Bytes own_end = std::min(virtual_size, round_up(former, disk.layout().block_size));
    const Bytes below_end = std::min(virtual_size, std::max(beneath.now.size(), beneath.after.size()));
    write_zeros(disk, {former, std::max(own_end, below_end)}, beneath, mover);
    clear_batmap_behind(disk, former_blocks, virtual_size);

    disk.settle(disk.footer().with_size(virtual_size));
    Layout layout = disk.layout();
    layout.virtual_size = virtual_size;
    layout.blocks = blocks;
    disk.replace_metadata(disk.header(), layout, disk.batmap());
}

} // namespace coppice::vhd
