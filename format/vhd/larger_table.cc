#include "format/vhd/larger_table.h"

#include "format/base/error.h"
#include "format/vhd/parent_locator.h"
#include "format/vhd/relink.h"

#include <algorithm>
#include <array>

namespace coppice::vhd {
namespace {

/// The metadata area as it shall be, in the order in which blktap lays it out.
struct Area {
    DynamicHeader header;
    Layout layout;
    std::optional<Batmap> batmap;
    std::vector<std::byte> bytes; ///< from header_offset

    Bytes begin() const { return layout.header_offset; }
    Bytes end() const { return begin() + Bytes{bytes.size()}; }
    void put(Bytes offset, std::span<const std::byte> part) {
        const std::size_t at = (offset - begin()).count();
        if (bytes.size() < at + part.size()) bytes.resize(at + part.size());
        std::ranges::copy(part, bytes.begin() + static_cast<std::ptrdiff_t>(at));
    }
};

void add_locators(WritableDisk& disk, Area& area) {
    for (const LocatorText& text : read_locators(disk.device(), disk.footers(), disk.header())) {
        if (!text.problem.empty() && text.place.empty()) throw CorruptImage{disk.name(), "parent locators in the file"};
        disk::ParentLocator& locator = area.header.editable().locators[text.slot];
        const Bytes length{locator.data_length.value()};
        if (length > longest_locator || length > text.place.length())
            throw CorruptImage{disk.name(), "parent locators of sensible length"};
        const Bytes space = std::min(text.place.length(), round_up(std::max(length, 1_B), sector_size));
        std::vector<std::byte> bytes(space.count());
        disk.device().read_at(text.place.begin, std::span{bytes}.first(length.count()));
        locator.data_offset = area.end().count();
        locator.data_space = static_cast<std::uint32_t>(space.count());
        area.put(area.end(), bytes);
    }
}

/// Table contents are added when the blocks have been moved; their room is reserved here.
Area lay_out_area(WritableDisk& disk, std::uint64_t blocks, Bytes virtual_size) {
    Area area{disk.header(), disk.layout(), disk.batmap(), {}};
    if (area.layout.header_offset != footer_size)
        throw Unsupported{disk.name(), "cannot grow a VHD whose header is not behind the footer's copy"};
    // Whole sectors of the table: the room is there anyway, and the next growth needs no move.
    area.layout.table_entries =
        round_up(Bytes{std::max(blocks, area.layout.table_entries)}, Bytes{Bat::entries_per_sector}).count();
    area.layout.table_offset = area.layout.header_end();
    area.header.editable().table_entries = static_cast<std::uint32_t>(area.layout.table_entries);
    area.header.editable().table_offset = area.layout.table_offset.count();
    area.bytes.resize((area.layout.table_end() - area.begin()).count());
    if (area.batmap) {
        const Bytes map_size = std::max({area.batmap->map_size(), batmap_range(virtual_size),
                                         round_up(Bytes{area.layout.table_entries / 8}, sector_size)});
        area.batmap = area.batmap->moved(area.layout.table_end(), static_cast<std::uint32_t>(map_size / sector_size),
                                         disk.layout().virtual_size);
        area.put(area.batmap->header_offset(), area.batmap->pack_header());
        area.put(area.batmap->map_offset(), std::vector<std::byte>(map_size.count()));
        area.put(area.batmap->map_offset(), area.batmap->map());
    }
    add_locators(disk, area);
    area.put(area.begin(), area.header.pack());
    return area;
}

struct Move {
    std::uint64_t block;
    ByteRange from;
    Bytes to;
};

/// Where each block that begins before `end` goes. Throws NoSpace.
std::vector<Move> moves_out_of(WritableDisk& disk, Bytes end) {
    std::vector<Move> moves;
    Bytes behind = std::max(disk.data_end(), end);
    for (auto block = disk.bat().next_allocated(0); block; block = disk.bat().next_allocated(*block + 1)) {
        const ByteRange place = disk.layout().place_of(disk.bat()[*block]);
        if (place.begin >= end) continue;
        const Bytes to = disk.place_behind(behind);
        moves.push_back({*block, place, to});
        behind = to + disk.layout().block_span();
    }
    return moves;
}

void move_block(WritableDisk& disk, const Move& move, DataMover& mover) {
    BlockDevice& device = disk.device();
    disk.keep_footer_behind(move.to + move.from.length());
    const std::array transfers{Transfer::from_device(device, move.from.begin, move.to, move.from.length())};
    mover.move(device, transfers);
    device.flush();
    disk.bat().set(move.block, static_cast<std::uint32_t>(whole_sectors(move.to).count()));
    const std::array blocks{move.block};
    disk.write_entries(blocks);
}

void add_table(WritableDisk& disk, Area& area) {
    Bat table = disk.bat();
    table.resize(table.size(), area.layout.table_entries);
    // Entries behind the present size mean nothing.
    for (std::uint64_t block = table.size(); block < table.entries(); ++block)
        table.set(block, unallocated);
    for (std::uint64_t sector = 0; sector < table.entries() / Bat::entries_per_sector; ++sector)
        area.put(area.layout.table_offset + sector_size * sector, table.sector(sector));
}

} // namespace

void enlarge_table(WritableDisk& disk, std::uint64_t blocks, Bytes virtual_size, DataMover& mover) {
    BlockDevice& device = disk.device();
    Area area = lay_out_area(disk, blocks, virtual_size);
    if (device.fixed_size() && area.end() + footer_size > device.size())
        throw NoSpace{disk.name(), area.end() + footer_size, device.size()};
    const std::vector<Move> moves = moves_out_of(disk, area.end());
    disk.keep_footer_behind(area.end());
    for (const Move& move : moves)
        move_block(disk, move, mover);

    add_table(disk, area);
    std::vector<std::byte> before(area.bytes.size());
    device.read_padded(area.begin(), before);
    auto phase = differing_sectors(area.begin(), before, area.bytes);
    if (!phase.empty()) apply_logged(device, {{std::move(phase)}}, disk.log());
    Layout layout = disk.layout();
    layout.table_entries = area.layout.table_entries;
    layout.table_offset = area.layout.table_offset;
    disk.replace_metadata(area.header, layout, area.batmap);

    // What moved blocks leave behind the metadata belongs to nobody now.
    if (device.fixed_size()) return;
    for (const Move& move : moves)
        if (move.from.end > area.end()) device.zero({std::max(move.from.begin, area.end()), move.from.end});
}

} // namespace coppice::vhd
