#include "format/vhd/create.h"

#include "format/base/error.h"
#include "format/vhd/batmap.h"
#include "format/vhd/footer.h"
#include "format/vhd/layout.h"
#include "format/vhd/parent_locator.h"

#include <algorithm>

namespace coppice::vhd {
namespace {

void require_size(const BlockDevice& device, const NewDisk& disk) {
    if (disk.virtual_size > largest_virtual_size || disk.reserved_size > largest_virtual_size)
        throw Refused{"virtual-size", device.name(), "a VHD cannot be larger than 2040 GiB"};
    if (!is_aligned(disk.virtual_size, sector_size)) throw std::logic_error{"a disk is whole sectors"};
}

/// Bytes of everything between the footer's copy and the first block.
struct Metadata {
    DynamicHeader header;
    std::vector<std::byte> bytes; ///< from the header on

    void append(std::span<const std::byte> part) {
        bytes.insert(bytes.end(), part.begin(), part.end());
        bytes.resize(round_up(Bytes{bytes.size()}, sector_size).count());
    }
    Bytes end() const { return footer_size + Bytes{bytes.size()}; }
};

void name_parent(Metadata& metadata, const NewParent& parent) {
    disk::DynamicHeader& raw = metadata.header.editable();
    if (parent.vhd_uuid) raw.parent_uuid = parent.vhd_uuid->bytes;
    raw.parent_timestamp = vhd_time(parent.modified);
    raw.parent_name = encode_parent_name(base_name(parent.name));
    std::size_t slot = 0;
    for (const std::uint32_t code : {platform::macx, platform::w2ku, platform::w2ru}) {
        const auto text = encode_locator(code, locator_path(parent.name));
        disk::ParentLocator& locator = raw.locators[slot++];
        locator.platform_code = code;
        locator.data_space = static_cast<std::uint32_t>(round_up(Bytes{text.size()}, sector_size).count());
        locator.data_length = static_cast<std::uint32_t>(text.size());
        locator.data_offset = metadata.end().count();
        metadata.append(text);
    }
}

} // namespace

void create(BlockDevice& device, const NewDisk& disk) {
    require_size(device, disk);
    if (disk.parent && disk.parent->format == Format::qcow2)
        throw Unsupported{device.name(), "a VHD cannot have a QCOW2 image as parent"};
    if (disk.parent && disk.parent->format == Format::vhd &&
        (!disk.parent->vhd_uuid || disk.parent->vhd_uuid->is_null()))
        throw Unsupported{device.name(), "a VHD parent without UUID"};
    const Bytes reserved = std::max(disk.virtual_size, disk.reserved_size);
    const std::uint64_t entries = blocks_for(reserved, disk.block_size);
    if (entries > most_blocks) throw Unsupported{device.name(), "too many blocks of this size"};

    const Bytes table_offset = footer_size + header_size;
    Metadata metadata{DynamicHeader::fresh(table_offset, static_cast<std::uint32_t>(entries), disk.block_size), {}};
    metadata.bytes.resize(header_size.count());
    metadata.append(std::vector<std::byte>(entries * 4, std::byte{0xFF}));
    const Bytes map_size =
        std::max(round_up(Bytes{units_needed(Bytes{entries}, Bytes{8})}, sector_size), batmap_range(reserved));
    const Batmap batmap =
        Batmap::fresh(metadata.end(), static_cast<std::uint32_t>(map_size / sector_size), disk.virtual_size);
    metadata.append(batmap.pack_header());
    metadata.append(std::vector<std::byte>(map_size.count()));
    if (disk.parent) name_parent(metadata, *disk.parent);
    std::ranges::copy(metadata.header.pack(), metadata.bytes.begin());

    const DiskType type = disk.parent ? DiskType::differencing : DiskType::dynamic;
    const auto footer = Footer::fresh(type, disk.virtual_size, disk.uuid, disk.created).with_hidden(disk.hidden).pack();
    const Bytes end = device.fixed_size() ? device.size() - footer_size : metadata.end();
    if (end < metadata.end()) throw NoSpace{device.name(), metadata.end() + footer_size, device.size()};
    device.write_at(footer_size, metadata.bytes);
    device.write_at(0_B, footer);
    device.write_at(end, footer);
    device.flush();
}

void create_fixed(BlockDevice& device, const NewDisk& disk) {
    require_size(device, disk);
    if (device.fixed_size() && device.size() < disk.virtual_size + footer_size)
        throw NoSpace{device.name(), disk.virtual_size + footer_size, device.size()};
    device.zero({0_B, disk.virtual_size});
    const Bytes end = device.fixed_size() ? device.size() - footer_size : disk.virtual_size;
    device.write_at(
        end,
        Footer::fresh(DiskType::fixed, disk.virtual_size, disk.uuid, disk.created).with_hidden(disk.hidden).pack());
    device.flush();
}

} // namespace coppice::vhd
