#include "format/vhd/bat.h"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <cstring>

namespace coppice::vhd {

Bat Bat::read(const BlockDevice& device, const Layout& layout) {
    Bat bat;
    bat.size_ = layout.blocks;
    bat.entries_.resize(round_up(Bytes{layout.blocks}, Bytes{entries_per_sector}).count());
    device.read_padded(layout.table_offset, std::as_writable_bytes(std::span{bat.entries_}));
    for (std::uint32_t& entry : bat.entries_)
        boost::endian::big_to_native_inplace(entry);
    return bat;
}

std::uint64_t Bat::count_allocated() const {
    const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(size_);
    return size_ - static_cast<std::uint64_t>(std::count(entries_.begin(), end, unallocated));
}

std::optional<std::uint64_t> Bat::next_allocated(std::uint64_t block) const {
    for (; block < size_; ++block)
        if (allocated(block)) return block;
    return std::nullopt;
}

std::optional<Bytes> Bat::blocks_end(const Layout& layout) const {
    // One more than each entry: unallocated ones wrap to zero, and the loop has no branch.
    std::uint32_t last = 0;
    for (std::uint64_t block = 0; block < size_; ++block)
        last = std::max(last, entries_[block] + 1);
    if (last == 0) return std::nullopt;
    return layout.place_of(last - 1).end;
}

std::optional<Bytes> Bat::blocks_begin() const {
    const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(size_);
    const auto first = std::min_element(entries_.begin(), end);
    if (first == end || *first == unallocated) return std::nullopt;
    return to_bytes(Sectors{*first});
}

std::vector<std::byte> Bat::sector(std::uint64_t index) const {
    std::vector<std::byte> bytes(sector_size.count());
    for (std::uint64_t i = 0; i < entries_per_sector; ++i) {
        const std::uint32_t big = boost::endian::native_to_big(entries_[index * entries_per_sector + i]);
        std::memcpy(bytes.data() + i * sizeof big, &big, sizeof big);
    }
    return bytes;
}

void Bat::resize(std::uint64_t size, std::uint64_t entries) {
    entries_.resize(round_up(Bytes{entries}, Bytes{entries_per_sector}).count(), unallocated);
    size_ = size;
}

std::vector<BlockFault> find_block_faults(const Bat& bat, const Layout& layout, Bytes metadata_end, Bytes data_limit,
                                          std::size_t limit) {
    std::vector<std::uint32_t> order; // blocks by place
    for (auto block = bat.next_allocated(0); block; block = bat.next_allocated(*block + 1))
        order.push_back(static_cast<std::uint32_t>(*block));
    std::ranges::sort(order,
                      [&](std::uint32_t a, std::uint32_t b) { return bat[a] != bat[b] ? bat[a] < bat[b] : a < b; });
    std::vector<BlockFault> faults;
    for (std::size_t i = 0; i < order.size() && faults.size() < limit; ++i) {
        const ByteRange place = layout.place_of(bat[order[i]]);
        if (place.begin < metadata_end) faults.push_back({BlockFault::Kind::in_metadata, order[i]});
        if (place.end > data_limit) faults.push_back({BlockFault::Kind::past_end, order[i]});
        if (i > 0 && layout.place_of(bat[order[i - 1]]).end > place.begin)
            faults.push_back({BlockFault::Kind::overlap, order[i], order[i - 1]});
    }
    return faults;
}

std::string describe(const BlockFault& fault) {
    const std::string block = "block " + std::to_string(fault.block);
    switch (fault.kind) {
    case BlockFault::Kind::in_metadata:
        return block + " lies in the metadata";
    case BlockFault::Kind::past_end:
        return block + " reaches behind the end of the file";
    case BlockFault::Kind::overlap:
        return block + " overlaps block " + std::to_string(fault.other);
    }
    return block;
}

} // namespace coppice::vhd
