#include "format/vhd/tail.h"

#include "format/vhd/writable_disk.h"

#include <algorithm>
#include <vector>

namespace coppice::vhd {
namespace {

class Tail final : public TailSpace {
public:
    Tail(Bytes metadata_end, const Layout& layout, const Bat& bat) : metadata_end_{metadata_end} {
        for (auto block = bat.next_allocated(0); block; block = bat.next_allocated(*block + 1))
            blocks_.push_back(
                {ByteRange::at(layout.block_size * *block, layout.block_size), layout.place_of(bat[*block]).end});
    }

    RangeList beyond(Bytes end) const override {
        RangeList result;
        for (const Block& block : blocks_)
            if (block.end + footer_size > end) add_range(result, block.guest);
        return result;
    }

    Bytes end_without(const RangeList& guest) const override {
        Bytes end = metadata_end_;
        auto gone = guest.begin();
        for (const Block& block : blocks_) {
            while (gone != guest.end() && gone->end <= block.guest.begin)
                ++gone;
            if (gone == guest.end() || block.guest.begin < gone->begin) end = std::max(end, block.end);
        }
        return round_up(end, sector_size) + footer_size;
    }

private:
    struct Block {
        ByteRange guest;
        Bytes end; ///< of its place in the file
    };

    Bytes metadata_end_;
    std::vector<Block> blocks_; ///< in the order of the disk
};

} // namespace

std::unique_ptr<const TailSpace> tail_space(const BlockDevice& device, const Headers& headers, const Bat& bat) {
    const ReadBatmap batmap = read_batmap(device, headers.footer, *headers.layout);
    return std::make_unique<Tail>(metadata_end(*headers.layout, batmap.batmap, *headers.header, device.size()),
                                  *headers.layout, bat);
}

void forget(BlockDevice& device, EditLog& log, const RangeList& guest) {
    WritableDisk disk{device, log};
    disk.guarded([&] {
        disk.settle(disk.footer());
        const Bytes block_size = disk.layout().block_size;
        std::vector<std::uint64_t> blocks;
        for (const ByteRange& range : guest)
            for (auto block = disk.bat().next_allocated(units_needed(range.begin, block_size));
                 block && *block < range.end / block_size; block = disk.bat().next_allocated(*block + 1))
                blocks.push_back(*block);
        if (disk.batmap()) { // first: a block that it calls full must be there
            Batmap batmap = *disk.batmap();
            for (const std::uint64_t block : blocks)
                batmap.set_full(block, false);
            disk.store_batmap(batmap);
        }
        for (const std::uint64_t block : blocks)
            disk.bat().set(block, unallocated);
        if (!blocks.empty()) disk.write_entries(blocks);
        disk.settle(disk.footer()); // a file ends earlier now
    });
}

} // namespace coppice::vhd
