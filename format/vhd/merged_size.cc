#include "format/vhd/merged_size.h"

#include "format/base/error.h"
#include "format/vhd/parent_locator.h"

#include <algorithm>

namespace coppice::vhd {
namespace {

/// The room that each locator gets when a larger table makes the area new: see larger_table.cc.
Bytes locator_room(const disk::ParentLocator& locator) {
    if (locator.platform_code.value() == platform::none) return 0_B;
    const Bytes space = locator_space(locator).value_or(0_B);
    return std::min(space, round_up(std::max(Bytes{locator.data_length.value()}, 1_B), sector_size));
}

} // namespace

MergedSize::MergedSize(const Layout& layout, const Bat& bat, const std::optional<Batmap>& batmap, Bytes metadata_end,
                       Bytes locators)
    : layout_{layout}, metadata_end_{metadata_end}, locators_{locators} {
    if (batmap) batmap_size_ = batmap->map_size();
    for (auto block = bat.next_allocated(0); block; block = bat.next_allocated(*block + 1)) {
        add_range(allocated_, ByteRange::at(layout.block_size * *block, layout.block_size));
        places_.push_back(bat[*block]);
    }
    std::ranges::sort(places_);
}

Bytes MergedSize::data_end() const {
    const Bytes blocks = places_.empty() ? 0_B : layout_.place_of(places_.back()).end;
    return round_up(std::max(metadata_end_, blocks), sector_size);
}

Bytes MergedSize::end() const {
    return data_end() + footer_size;
}

Bytes MergedSize::appended(Bytes end, std::uint64_t blocks) const {
    if (blocks == 0) return end;
    // Data begins on a page, so that from the first one on all are equally far apart.
    const Bytes first = next_block_place(end, layout_.bitmap_size);
    const Bytes stride = next_block_place(first + layout_.block_span(), layout_.bitmap_size) - first;
    const Bytes last = first + stride * (blocks - 1);
    if (whole_sectors(last) >= Sectors{unallocated})
        throw NoSpace{"a VHD ends at 2 TiB", last + layout_.block_span(), to_bytes(Sectors{unallocated})};
    return last + layout_.block_span();
}

bool MergedSize::table_is_too_small(Bytes virtual_size) const {
    if (blocks_for(virtual_size, layout_.block_size) > layout_.table_entries) return true;
    return batmap_size_ && batmap_range(virtual_size) > *batmap_size_;
}

Bytes MergedSize::end_with_larger_table(Bytes virtual_size) const {
    Layout larger = layout_;
    larger.table_entries =
        round_up(Bytes{std::max(blocks_for(virtual_size, layout_.block_size), layout_.table_entries)},
                 Bytes{Bat::entries_per_sector})
            .count();
    larger.table_offset = larger.header_end();
    Bytes metadata = larger.table_end();
    if (batmap_size_)
        metadata += sector_size + std::max({*batmap_size_, batmap_range(virtual_size),
                                            round_up(Bytes{larger.table_entries / 8}, sector_size)});
    metadata += locators_;
    std::uint64_t moved = 0;
    while (moved < places_.size() && layout_.place_of(places_[moved]).begin < metadata)
        ++moved;
    const Bytes end = appended(std::max(data_end(), metadata), moved);
    if (moved > 0) return end;
    return round_up(std::max(metadata, data_end()), sector_size);
}

Bytes MergedSize::end_after(const MergeInput& merge) const {
    const Bytes size = std::max(layout_.virtual_size, round_up(merge.virtual_size, sector_size));
    if (size > largest_virtual_size && size > layout_.virtual_size)
        throw Refused{"virtual-size", "merge", "a VHD cannot be larger than 2040 GiB"};
    const bool grows = size > layout_.virtual_size;
    Bytes end = grows && table_is_too_small(size) ? end_with_larger_table(size) : data_end();
    RangeList touched = united(merge.data, intersected(merge.zeros, merge.beneath));
    // What becomes visible by growing is zeros, written down where something would show.
    if (grows) {
        const RangeList behind{{layout_.virtual_size, size}};
        touched = united(touched, intersected(behind, united(merge.beneath, merge.beneath_now)));
    }
    const RangeList fresh = subtracted(rounded_out(touched, layout_.block_size), allocated_);
    return appended(end, count_units(fresh, layout_.block_size)) + footer_size;
}

std::unique_ptr<const TargetSpace> merged_size(const BlockDevice& device, const Headers& headers, const Bat& bat) {
    const ReadBatmap batmap = read_batmap(device, headers.footer, *headers.layout);
    Bytes locators;
    for (const disk::ParentLocator& locator : headers.header->raw().locators)
        locators += locator_room(locator);
    return std::make_unique<MergedSize>(*headers.layout, bat, batmap.batmap,
                                        metadata_end(*headers.layout, batmap.batmap, *headers.header, device.size()),
                                        locators);
}

} // namespace coppice::vhd
