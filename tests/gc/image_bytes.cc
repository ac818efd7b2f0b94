#include "tests/gc/image_bytes.h"

#include "format/qcow2/disk_layout.h"
#include "format/vhd/checksum.h"
#include "format/vhd/disk_layout.h"
#include "format/vhd/parent_locator.h"

#include <algorithm>
#include <cstring>

namespace coppice::test {
namespace {

using Buffer = std::vector<std::byte>;

template <class Struct>
void put(Buffer& out, std::uint64_t offset, const Struct& value) {
    if (out.size() < offset + sizeof value) out.resize(offset + sizeof value);
    std::memcpy(out.data() + offset, &value, sizeof value);
}

void fill(Buffer& out, std::uint64_t offset, std::uint64_t length, int byte) {
    if (out.size() < offset + length) out.resize(offset + length);
    std::memset(out.data() + offset, byte, length);
}

constexpr std::uint64_t sector = 512;
constexpr std::uint64_t block = 2 * 1024 * 1024;
constexpr std::uint64_t bat_offset = 1536;
constexpr std::uint64_t batmap_offset = 2048;
constexpr std::uint64_t locators_offset = 3072;
constexpr std::uint64_t blocks_offset = 8192;
constexpr std::uint64_t no_offset = ~std::uint64_t{0};

vhd::disk::Footer vhd_footer(const ImageSpec& spec) {
    vhd::disk::Footer footer{};
    vhd::put_text(footer.cookie, "conectix");
    footer.features = 2;
    footer.version = 0x00010000;
    footer.data_offset = sector;
    footer.creator_application = {std::byte{'t'}, std::byte{'a'}, std::byte{'p'}, std::byte{0}};
    footer.creator_version = 0x00010003;
    footer.original_size = spec.size.count();
    footer.current_size = spec.size.count();
    footer.type = spec.parent.empty() ? 3 : 4;
    footer.uuid = spec.uuid.bytes;
    footer.hidden = std::byte{spec.hidden ? std::uint8_t{1} : std::uint8_t{0}};
    footer.checksum =
        vhd::structure_checksum(std::as_bytes(std::span{&footer, 1}), offsetof(vhd::disk::Footer, checksum));
    return footer;
}

void put_locators(Buffer& out, vhd::disk::DynamicHeader& header, const ImageSpec& spec) {
    constexpr std::uint32_t codes[] = {vhd::platform::macx, vhd::platform::w2ku, vhd::platform::w2ru};
    for (std::size_t slot = 0; slot < 3; ++slot) {
        const std::string name =
            spec.locators.empty() ? "./" + spec.parent : spec.locators[std::min(slot, spec.locators.size() - 1)];
        const Buffer text = vhd::encode_locator(codes[slot], name);
        const std::uint64_t offset = locators_offset + slot * sector;
        std::ranges::copy(text, out.begin() + static_cast<std::ptrdiff_t>(offset));
        header.locators[slot].platform_code = codes[slot];
        header.locators[slot].data_space = sector;
        header.locators[slot].data_length = static_cast<std::uint32_t>(text.size());
        header.locators[slot].data_offset = offset;
    }
}

void put_batmap(Buffer& out) {
    vhd::disk::BatmapHeader batmap{};
    vhd::put_text(batmap.cookie, "tdbatmap");
    batmap.offset = batmap_offset + sector;
    batmap.size = 1;
    batmap.version = 0x00010002;
    batmap.checksum = ~0U;
    put(out, batmap_offset, batmap);
}

Buffer vhd_bytes(const ImageSpec& spec) {
    Buffer out(blocks_offset);
    const std::uint64_t entries = (spec.size.count() + block - 1) / block;
    put(out, 0, vhd_footer(spec));
    vhd::disk::DynamicHeader header{};
    vhd::put_text(header.cookie, "cxsparse");
    header.data_offset = no_offset;
    header.table_offset = bat_offset;
    header.version = 0x00010000;
    header.table_entries = static_cast<std::uint32_t>(entries);
    header.block_size = block;
    if (!spec.parent.empty()) {
        header.parent_uuid = spec.parent_uuid.value_or(Uuid{}).bytes;
        header.parent_name = vhd::encode_parent_name(vhd::base_name(spec.parent));
        put_locators(out, header, spec);
    }
    header.checksum =
        vhd::structure_checksum(std::as_bytes(std::span{&header, 1}), offsetof(vhd::disk::DynamicHeader, checksum));
    put(out, sector, header);
    put_batmap(out);
    fill(out, bat_offset, sector, 0xFF);
    for (std::uint64_t index = 0; index < entries; ++index) {
        const std::uint64_t first_page = index * block / page_size.count();
        const std::uint64_t end_page = first_page + block / page_size.count();
        if (spec.pages.lower_bound(first_page) == spec.pages.lower_bound(end_page)) continue;
        const std::uint64_t at = out.size();
        fill(out, at, sector + block, 0);
        put(out, bat_offset + index * 4, vhd::disk::be32{static_cast<std::uint32_t>(at / sector)});
        for (auto page = spec.pages.lower_bound(first_page); page != spec.pages.lower_bound(end_page); ++page) {
            fill(out, at + (page->first - first_page), 1, 0xFF); // eight sectors are one byte of the bitmap
            fill(out, at + sector + (page->first - first_page) * page_size.count(), page_size.count(), page->second);
        }
    }
    put(out, out.size(), vhd_footer(spec));
    return out;
}

// Clusters of a QCOW2 image, in this order: header, reference table, reference block, L1, one L2 for each 2 MiB, data.
constexpr std::uint64_t cluster = 4096;
constexpr std::uint64_t copied = std::uint64_t{1} << 63;

Buffer qcow2_bytes(const ImageSpec& spec) {
    const std::uint64_t tables = (spec.size.count() + block - 1) / block;
    Buffer out((4 + tables) * cluster);
    qcow2::disk::Header header{};
    header.magic = qcow2::disk::magic;
    header.version = 3;
    header.cluster_bits = 12;
    header.size = spec.size.count();
    header.l1_size = static_cast<std::uint32_t>(tables);
    header.l1_table_offset = 3 * cluster;
    header.refcount_table_offset = cluster;
    header.refcount_table_clusters = 1;
    header.refcount_order = 4;
    header.header_length = 104;
    std::uint64_t at = 104;
    const auto extension = [&](std::uint32_t type, const std::string& data) {
        put(out, at,
            qcow2::disk::ExtensionHeader{qcow2::disk::be32{type},
                                         qcow2::disk::be32{static_cast<std::uint32_t>(data.size())}});
        std::ranges::copy(std::as_bytes(std::span{data}), out.begin() + static_cast<std::ptrdiff_t>(at + 8));
        at += 8 + (data.size() + 7) / 8 * 8;
    };
    if (!spec.parent.empty() && spec.record_parent_format)
        extension(0xE2792ACA, spec.parent_format == Format::vhd ? "vpc" : std::string{to_string(spec.parent_format)});
    extension(0x76617465, std::string(1, spec.hidden ? '\1' : '\0') + std::string(7, '\0'));
    extension(0, "");
    if (!spec.parent.empty()) {
        header.backing_file_offset = at;
        header.backing_file_size = static_cast<std::uint32_t>(spec.parent.size());
        std::ranges::copy(std::as_bytes(std::span{spec.parent}), out.begin() + static_cast<std::ptrdiff_t>(at));
    }
    std::memcpy(out.data(), &header, 104);
    for (std::uint64_t index = 0; index < tables; ++index)
        put(out, 3 * cluster + index * 8, qcow2::disk::be64{copied | ((4 + index) * cluster)});
    for (const auto& [page, letter] : spec.pages) {
        const std::uint64_t offset = out.size();
        fill(out, offset, cluster, letter);
        put(out, 4 * cluster + page * 8,
            qcow2::disk::be64{copied | offset}); // the L2 tables stand one behind the other
    }
    put(out, cluster, qcow2::disk::be64{2 * cluster});
    for (std::uint64_t index = 0; index < out.size() / cluster; ++index)
        put(out, 2 * cluster + index * 2, boost::endian::big_uint16_buf_t{1});
    return out;
}

Buffer raw_bytes(const ImageSpec& spec) {
    Buffer out(spec.size.count());
    for (const auto& [page, letter] : spec.pages)
        fill(out, page * page_size.count(), page_size.count(), letter);
    return out;
}

} // namespace

std::vector<std::byte> image_bytes(const ImageSpec& spec) {
    switch (spec.format) {
    case Format::vhd:
        return vhd_bytes(spec);
    case Format::qcow2:
        return qcow2_bytes(spec);
    case Format::raw:
        break;
    }
    return raw_bytes(spec);
}

Uuid uuid_of(unsigned digit) {
    Uuid uuid;
    uuid.bytes.fill(std::byte{static_cast<std::uint8_t>(digit)});
    return uuid;
}

} // namespace coppice::test
