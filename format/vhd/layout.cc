#include "format/vhd/layout.h"

namespace coppice::vhd {
namespace {

constexpr Bytes page = 4_KiB;

} // namespace

std::uint64_t blocks_for(Bytes virtual_size, Bytes block_size) {
    return units_needed(virtual_size, block_size);
}

Bytes bitmap_size_for(Bytes block_size) {
    return round_up(Bytes{units_needed(Bytes{block_size / sector_size}, Bytes{8})}, sector_size);
}

Bytes next_block_place(Bytes end, Bytes bitmap_size) {
    return round_up(round_up(end, sector_size) + bitmap_size, page) - bitmap_size;
}

UnpackedLayout lay_out(const Footer& footer, const DynamicHeader& header, Bytes device_size) {
    Layout layout;
    layout.virtual_size = round_down(footer.current_size(), sector_size);
    layout.block_size = header.block_size();
    layout.bitmap_size = bitmap_size_for(layout.block_size);
    layout.blocks = blocks_for(layout.virtual_size, layout.block_size);
    layout.table_entries = header.table_entries();
    layout.header_offset = footer.data_offset();
    layout.table_offset = header.table_offset();
    const auto invalid = [](std::string code, std::string problem) {
        return UnpackedLayout{std::nullopt, std::move(problem), std::move(code)};
    };
    if (layout.blocks > layout.table_entries)
        return invalid("bat-smaller-than-disk", "the block table has " + std::to_string(layout.table_entries) +
                                                    " entries, the disk needs " + std::to_string(layout.blocks));
    if (layout.blocks > most_blocks)
        return {std::nullopt, "a disk of " + std::to_string(layout.blocks) + " blocks", "too-many-blocks", true};
    if (layout.table_offset > device_size || device_size - layout.table_offset < Bytes{layout.blocks * 4})
        return invalid("bat-past-end", "the block table lies behind the end of the file");
    if (layout.table_offset < footer_size) return invalid("bat-offset", "the block table lies in the footer's copy");
    return {layout, {}, {}};
}

} // namespace coppice::vhd
