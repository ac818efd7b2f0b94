// The batmap: blktap's hint which blocks are full, behind the block table.
//
// Readers here never trust it, because a bit too many would show stale bytes; it is kept right for the sake of blktap.
#pragma once

#include "format/base/block_device.h"
#include "format/base/header_edit.h"
#include "format/vhd/footer.h"
#include "format/vhd/layout.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coppice::vhd {

/// The part of the map that a disk of this size sums up: blktap rounds down, so that the last blocks may be outside.
Bytes batmap_range(Bytes virtual_size);

class Batmap {
public:
    Batmap(const disk::BatmapHeader& raw, Bytes header_offset, std::vector<std::byte> map)
        : raw_{raw}, header_offset_{header_offset}, map_{std::move(map)} {}
    /// An empty one of `sectors` behind a header at `header_offset`, for a disk of `virtual_size`.
    static Batmap fresh(Bytes header_offset, std::uint32_t sectors, Bytes virtual_size);

    const disk::BatmapHeader& raw() const { return raw_; }
    Bytes header_offset() const { return header_offset_; }
    Bytes map_offset() const { return Bytes{raw_.offset.value()}; }
    Bytes map_size() const { return to_bytes(Sectors{raw_.size.value()}); }
    /// First byte behind header and map.
    Bytes end() const { return std::max(header_offset_ + sector_size, map_offset() + map_size()); }
    /// Only the summed range.
    std::span<const std::byte> map() const { return map_; }
    /// False for blocks outside the summed range.
    bool full(std::uint64_t block) const;
    /// Without effect for blocks outside the summed range, whose bits must stay zero on disk.
    void set_full(std::uint64_t block, bool full);
    /// With the checksum of the map as it is now.
    std::vector<std::byte> pack_header() const;
    std::uint32_t checksum() const;
    /// The same header and map for a larger disk: at another place, of another size.
    Batmap moved(Bytes header_offset, std::uint32_t sectors, Bytes virtual_size) const;

private:
    disk::BatmapHeader raw_;
    Bytes header_offset_;
    std::vector<std::byte> map_;
};

struct ReadBatmap {
    std::optional<Batmap> batmap;
    std::string problem; ///< it should be there, but cannot be used
    std::string code;
};

/// Neither batmap nor problem: the creator made none. Throws SystemError where reading fails.
ReadBatmap read_batmap(const BlockDevice& device, const Footer& footer, const Layout& layout);

} // namespace coppice::vhd
