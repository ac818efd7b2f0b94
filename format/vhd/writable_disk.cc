#include "format/vhd/writable_disk.h"

#include "format/base/error.h"
#include "format/vhd/relink.h"

#include <algorithm>

namespace coppice::vhd {
namespace {

Headers dynamic_headers(const BlockDevice& device) {
    Headers headers = read_headers(device);
    if (headers.fixed()) throw std::logic_error{"a fixed disk has no blocks"};
    if (headers.footer.poisoned()) throw Unsupported{device.name(), "an interrupted resize has to be reverted first"};
    return headers;
}

} // namespace

WritableDisk::WritableDisk(BlockDevice& device, EditLog& log) : WritableDisk{device, log, dynamic_headers(device)} {}

WritableDisk::WritableDisk(BlockDevice& device, EditLog& log, Headers headers)
    : device_{device}, log_{log}, footers_{std::move(headers.footers)}, footer_{headers.footer},
      header_{*headers.header}, layout_{*headers.layout}, bat_{Bat::read(device, layout_)} {
    ReadBatmap batmap = read_batmap(device, footer_, layout_);
    if (!batmap.problem.empty()) throw CorruptImage{name(), "a usable batmap: " + batmap.problem};
    batmap_ = std::move(batmap.batmap);
    if (!is_aligned(layout_.table_offset, sector_size))
        throw CorruptImage{name(), "a block table on a sector boundary"};
    if (layout_.table_end() > footers_.data_limit(device))
        throw CorruptImage{name(), "all of the block table in the file"};
    if (!locators_inside(header_, device.size())) throw CorruptImage{name(), "parent locators inside the file"};
    const auto faults = find_block_faults(bat_, layout_, metadata_end(), footers_.data_limit(device), 1);
    if (!faults.empty()) throw CorruptImage{name(), "blocks in their own places: " + describe(faults.front())};
}

void WritableDisk::require_usable() const {
    if (!usable_) throw Error{name() + ": an earlier write failed, open the image anew"};
}

Bytes WritableDisk::place_behind(Bytes end) const {
    const Bytes place = next_block_place(end, layout_.bitmap_size);
    if (whole_sectors(place) >= Sectors{unallocated})
        throw NoSpace{name() + ": a VHD ends at 2 TiB", place + layout_.block_span(), to_bytes(Sectors{unallocated})};
    if (device_.fixed_size() && place + layout_.block_span() + footer_size > device_.size())
        throw NoSpace{name(), place + layout_.block_span() + footer_size, device_.size()};
    return place;
}

void WritableDisk::keep_footer_behind(Bytes end) {
    if (device_.fixed_size() || end + footer_size <= device_.size()) return;
    device_.write_at(end, footer_.pack());
    device_.flush();
}

void WritableDisk::entry_writes(std::span<const std::uint64_t> blocks, std::vector<std::vector<std::byte>>& storage,
                                std::vector<WriteRequest>& requests) const {
    std::set<std::uint64_t> sectors;
    for (const std::uint64_t block : blocks)
        sectors.insert(bat_.sector_of(block));
    for (const std::uint64_t sector : sectors) {
        storage.push_back(bat_.sector(sector));
        requests.push_back({layout_.table_offset + sector_size * sector, storage.back()});
    }
}

void WritableDisk::write_entries(std::span<const std::uint64_t> blocks) {
    std::vector<std::vector<std::byte>> storage;
    std::vector<WriteRequest> requests;
    entry_writes(blocks, storage, requests);
    device_.write(requests);
    device_.flush();
}

void WritableDisk::settle(const Footer& footer) {
    const auto bytes = footer.pack();
    const auto stands_at = [&](Bytes offset) {
        return offset + footer_size <= device_.size() && device_.read_at(offset, footer_size) == bytes;
    };
    const Bytes end = device_.fixed_size() ? device_.size() - footer_size : data_end();
    // Two different valid footers are damage that nobody can judge: where the content changes, the pair is one edit.
    if (!(footer == footer_)) apply_logged(device_, {{{{end, bytes}}, {{0_B, bytes}}}}, log_);
    if (!stands_at(end)) {
        device_.write_at(end, bytes);
        device_.flush();
    }
    if (!device_.fixed_size() && device_.size() > end + footer_size) {
        device_.set_size(end + footer_size);
        device_.flush();
    }
    if (!stands_at(0_B)) {
        device_.write_at(0_B, bytes);
        device_.flush();
    }
    footer_ = footer;
}

void WritableDisk::store_batmap(const Batmap& batmap) {
    std::vector<Overwrite> phase = differing_sectors(
        batmap.map_offset(), device_.read_at(batmap.map_offset(), Bytes{batmap.map().size()}), batmap.map());
    const auto header = batmap.pack_header();
    if (!phase.empty() || device_.read_at(batmap.header_offset(), sector_size) != header) {
        phase.push_back({batmap.header_offset(), header});
        apply_logged(device_, {{std::move(phase)}}, log_);
    }
    batmap_ = batmap;
}

void WritableDisk::expose_blocks(std::uint64_t blocks) {
    Layout larger = layout_;
    larger.blocks = blocks;
    Bat bat = Bat::read(device_, larger);
    std::vector<std::uint64_t> strays;
    for (auto block = bat.next_allocated(layout_.blocks); block; block = bat.next_allocated(*block + 1)) {
        bat.set(*block, unallocated);
        strays.push_back(*block);
    }
    bat_ = std::move(bat);
    if (!strays.empty()) write_entries(strays);
}

void WritableDisk::replace_metadata(const DynamicHeader& header, const Layout& layout, std::optional<Batmap> batmap) {
    header_ = header;
    layout_ = layout;
    batmap_ = std::move(batmap);
}

} // namespace coppice::vhd
