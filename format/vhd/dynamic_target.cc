#include "format/vhd/dynamic_target.h"

#include "format/vhd/block_batch.h"
#include "format/vhd/growth.h"
#include "format/vhd/relink.h"
#include "format/vhd/sector_bitmap.h"

#include <algorithm>

namespace coppice::vhd {
namespace {

// Blocks whose bitmaps are read in one batch.
constexpr std::size_t bitmaps_at_once = 1024;
constexpr std::size_t scrub_buffer = 1 << 20;

/// Calls `visit(block, bits)` for each block, whose bitmaps are read in batches.
template <class Blocks, class Visitor>
void for_each_bitmap(WritableDisk& disk, const Blocks& blocks, Visitor visit) {
    const std::size_t size = disk.layout().bitmap_size.count();
    const std::size_t at_once = std::max<std::size_t>(1, std::min(bitmaps_at_once, (std::size_t{1} << 20) / size));
    std::vector<std::byte> buffer(at_once * size);
    for (auto next = blocks.begin(); next != blocks.end();) {
        std::vector<ReadRequest> requests;
        auto last = next;
        for (; last != blocks.end() && requests.size() < at_once; ++last)
            requests.push_back(
                {to_bytes(Sectors{disk.bat()[*last]}), std::span{buffer}.subspan(requests.size() * size, size)});
        disk.device().read(requests);
        for (std::size_t i = 0; next != last; ++next, ++i)
            visit(*next, std::span<const std::byte>{buffer}.subspan(i * size, size));
    }
}

/// Zeroes what is not zero in a range of the device. True when something was.
bool scrub(BlockDevice& device, ByteRange range, std::vector<std::byte>& buffer) {
    bool found = false;
    while (range.begin < range.end) {
        const auto data = device.next_data(range.begin);
        if (!data || data->begin >= range.end) break;
        range.begin = std::max(range.begin, data->begin);
        const Bytes length = std::min({range.length(), Bytes{buffer.size()}, data->end - range.begin});
        const auto bytes = std::span{buffer}.first(length.count());
        device.read_at(range.begin, bytes);
        if (!all_zero(bytes)) {
            device.zero(ByteRange::at(range.begin, length));
            found = true;
        }
        range.begin += length;
    }
    return found;
}

} // namespace

void DynamicTarget::prepare() {
    disk_.guarded([&] {
        disk_.settle(disk_.footer());
        if (disk_.footer().is(DiskType::dynamic)) forget_former_parent();
    });
}

/// A change of type and header that was cut short between the two, and whose record is lost.
void DynamicTarget::forget_former_parent() {
    const DynamicHeader clean = without_parent(disk_.header());
    const HeaderEdit edit{{differing_sectors(disk_.layout().header_offset, disk_.header().bytes(), clean.pack())}};
    if (edit.phases.front().empty()) return;
    apply_logged(disk_.device(), edit, disk_.log());
    disk_.replace_metadata(clean, disk_.layout(), disk_.batmap());
}

void DynamicTarget::grow(Bytes virtual_size, const Beneath& beneath, DataMover& mover) {
    disk_.guarded([&] { vhd::grow(disk_, virtual_size, beneath, mover); });
}

void DynamicTarget::write(std::span<const GuestWrite> batch, const Beneath& beneath, DataMover& mover) {
    // Planning changes nothing, so that a batch which does not fit may be tried again.
    BlockBatch planned{disk_, batch, [&](ByteRange guest) { return beneath.after.may_hold_data(guest); }};
    disk_.guarded([&] { planned.carry_out(mover); });
}

void DynamicTarget::finish(Becomes becomes) {
    disk_.guarded([&] {
        // Only where it was no root before: what other writers left under clear bits of a root was there all along.
        if (becomes == Becomes::root && disk_.footer().is(DiskType::differencing)) scrub_clear_sectors();
        update_batmap();
        disk_.settle(disk_.footer());
    });
}

void DynamicTarget::scrub_clear_sectors() {
    std::vector<std::uint64_t> blocks;
    for (auto block = disk_.bat().next_allocated(0); block; block = disk_.bat().next_allocated(*block + 1))
        blocks.push_back(*block);
    std::vector<std::byte> buffer(scrub_buffer);
    bool found = false;
    for_each_bitmap(disk_, blocks, [&](std::uint64_t block, std::span<const std::byte> bits) {
        const Bytes data = disk_.layout().data_of(disk_.bat()[block]);
        for_each_run(bits, 0, disk_.layout().sectors_per_block(), false, [&](std::uint64_t begin, std::uint64_t end) {
            found |= scrub(disk_.device(), {data + to_bytes(Sectors{begin}), data + to_bytes(Sectors{end})}, buffer);
        });
    });
    if (found) disk_.device().flush();
}

void DynamicTarget::update_batmap() {
    if (!disk_.batmap()) return;
    Batmap batmap = *disk_.batmap();
    for_each_bitmap(disk_, disk_.changed(), [&](std::uint64_t block, std::span<const std::byte> bits) {
        batmap.set_full(block, all_set(bits, disk_.layout().sectors_per_block()));
    });
    disk_.store_batmap(batmap);
}

} // namespace coppice::vhd
