#include "format/vhd/batmap.h"

#include "format/vhd/checksum.h"
#include "format/vhd/sector_bitmap.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace coppice::vhd {
namespace {

constexpr std::string_view batmap_cookie = "tdbatmap";
constexpr std::uint32_t tap_1_1 = 0x00010001;
constexpr std::uint32_t tap_1_2 = 0x00010002;
constexpr std::uint32_t version_1_1 = 0x00010001;
constexpr std::uint32_t version_1_2 = 0x00010002;
// One bit per block of the largest table that we read.
constexpr Bytes largest_map{most_blocks / 8};

} // namespace

Bytes batmap_range(Bytes virtual_size) {
    return std::max(sector_size, round_up(Bytes{virtual_size.count() >> 24}, sector_size));
}

Batmap Batmap::fresh(Bytes header_offset, std::uint32_t sectors, Bytes virtual_size) {
    disk::BatmapHeader raw{};
    put_text(raw.cookie, batmap_cookie);
    raw.offset = (header_offset + sector_size).count();
    raw.size = sectors;
    raw.version = version_1_2;
    Batmap result{raw, header_offset, {}};
    result.map_.resize(std::min(batmap_range(virtual_size), result.map_size()).count());
    return result;
}

bool Batmap::full(std::uint64_t block) const {
    return block / 8 < map_.size() && test_bit(map_, block);
}

void Batmap::set_full(std::uint64_t block, bool full) {
    if (block / 8 >= map_.size()) return;
    if (full)
        set_bit(map_, block);
    else
        clear_bit(map_, block);
}

std::uint32_t Batmap::checksum() const {
    return ~(raw_.version.value() == version_1_1 ? signed_byte_sum(map_) : byte_sum(map_));
}

std::vector<std::byte> Batmap::pack_header() const {
    disk::BatmapHeader raw = raw_;
    raw.checksum = checksum();
    const auto bytes = std::as_bytes(std::span{&raw, 1});
    return {bytes.begin(), bytes.end()};
}

Batmap Batmap::moved(Bytes header_offset, std::uint32_t sectors, Bytes virtual_size) const {
    Batmap result{*this};
    result.header_offset_ = header_offset;
    result.raw_.offset = (header_offset + sector_size).count();
    result.raw_.size = sectors;
    result.map_.resize(std::min(batmap_range(virtual_size), result.map_size()).count());
    return result;
}

ReadBatmap read_batmap(const BlockDevice& device, const Footer& footer, const Layout& layout) {
    if (!footer.made_by_tap() || footer.creator_version() < tap_1_1) return {};
    const bool required = footer.creator_version() >= tap_1_2;
    const auto invalid = [](std::string code, std::string problem) {
        return ReadBatmap{std::nullopt, std::move(problem), std::move(code)};
    };
    const Bytes header_offset = layout.table_end();
    disk::BatmapHeader raw{};
    if (header_offset > device.size() || device.size() - header_offset < sector_size) {
        if (!required) return {};
        return invalid("batmap-past-end", "the batmap lies behind the end of the file");
    }
    device.read_at(header_offset, std::as_writable_bytes(std::span{&raw, 1}));
    if (!equals_text(raw.cookie, batmap_cookie)) {
        if (!required) return {};
        return invalid("batmap-cookie", "no cookie of a batmap behind the block table");
    }
    if (raw.version.value() != version_1_1 && raw.version.value() != version_1_2)
        return invalid("batmap-version", "unknown version of the batmap");
    const Bytes offset{raw.offset.value()};
    const Bytes size = to_bytes(Sectors{raw.size.value()});
    if (!is_aligned(offset, sector_size) || offset > device.size() || device.size() - offset < size ||
        offset < layout.table_end() ||
        intersection(ByteRange::at(header_offset, sector_size), {offset, offset + size}).length() > 0_B)
        return invalid("batmap-place", "the batmap lies in other metadata or behind the end of the file");
    const Bytes range = batmap_range(layout.virtual_size);
    // The reference itself makes maps that are one sector short of the blocks, but never of the range that it sums up.
    if (range > largest_map || range > size) return invalid("batmap-size", "the batmap is smaller than the disk");
    Batmap batmap{raw, header_offset, device.read_at(offset, range)};
    if (batmap.checksum() != raw.checksum.value()) return invalid("batmap-checksum", "wrong checksum of the batmap");
    return {std::move(batmap), {}, {}};
}

} // namespace coppice::vhd
