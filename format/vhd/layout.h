// Where things are in a dynamic or differencing VHD, as far as footer and header say: sizes, table, places of blocks.
//
// All sums are 64 bits wide: entries near the top of their 32 bits must not wrap into valid places.
#pragma once

#include "format/base/byte_range.h"
#include "format/vhd/footer.h"
#include "format/vhd/header.h"

#include <optional>
#include <string>

namespace coppice::vhd {

/// Entries of the largest table that is kept in memory (64 MiB of it): 32 TiB in blocks of 2 MiB.
inline constexpr std::uint64_t most_blocks = std::uint64_t{1} << 24;
inline constexpr std::uint32_t unallocated = 0xFFFFFFFF;

struct Layout {
    Bytes virtual_size; ///< whole sectors
    Bytes block_size;
    Bytes bitmap_size;               ///< of one block, padded to sectors
    std::uint64_t blocks = 0;        ///< that virtual_size needs
    std::uint64_t table_entries = 0; ///< that the table has room for
    Bytes header_offset;
    Bytes table_offset;

    Bytes header_end() const { return header_offset + header_size; }
    Bytes table_end() const { return table_offset + round_up(Bytes{table_entries * 4}, sector_size); }
    /// Bitmap and data of one block.
    Bytes block_span() const { return bitmap_size + block_size; }
    std::uint64_t sectors_per_block() const { return block_size / sector_size; }
    /// Guest bytes of a block, the last one clipped to the disk.
    ByteRange guest_of(std::uint64_t block) const {
        return intersection(ByteRange::at(block_size * block, block_size), {0_B, virtual_size});
    }
    ByteRange place_of(std::uint32_t entry) const { return ByteRange::at(to_bytes(Sectors{entry}), block_span()); }
    Bytes data_of(std::uint32_t entry) const { return to_bytes(Sectors{entry}) + bitmap_size; }
};

struct UnpackedLayout {
    std::optional<Layout> layout;
    std::string problem;
    std::string code;
    bool unsupported = false; ///< valid, but beyond what we handle
};

/// Does the table fit the disk and the device?
UnpackedLayout lay_out(const Footer& footer, const DynamicHeader& header, Bytes device_size);

/// blocks that a disk of this size has.
std::uint64_t blocks_for(Bytes virtual_size, Bytes block_size);
/// Of one block, padded to sectors.
Bytes bitmap_size_for(Bytes block_size);

/// The sector at which a block that comes behind `end` starts, so that its data starts on a page.
Bytes next_block_place(Bytes end, Bytes bitmap_size);

} // namespace coppice::vhd
