#include "format/qcow2/create.h"

#include "format/base/error.h"
#include "format/qcow2/parent_reference.h"
#include "format/qcow2/refcounts.h"

#include <cstring>

namespace coppice::qcow2 {
namespace {

/// Where everything stands, in clusters: header, refcount table, refcount blocks, L1 table.
struct Layout {
    std::uint64_t table_clusters = 1;
    std::uint64_t blocks = 1;
    std::uint64_t l1_entries = 0;
    std::uint64_t l1_clusters = 0;

    std::uint64_t total() const { return 1 + table_clusters + blocks + l1_clusters; }
};

Header plain_header(const CreateOptions& options) {
    Header header;
    header.version = options.version;
    header.cluster_bits = options.cluster_bits;
    header.size = options.size;
    header.refcount_order = options.refcount_order;
    if (options.extended_l2) header.incompatible_features |= disk::incompatible_extended_l2;
    if (options.zstd) header.incompatible_features |= disk::incompatible_compression;
    header.compression_type = options.zstd ? 1 : 0;
    header.header_length = options.version < 3 ? disk::version2_length : std::uint32_t{sizeof(disk::Header)};
    return header;
}

void check_options(const std::string& name, const CreateOptions& options) {
    const bool new_features = options.extended_l2 || options.zstd || options.refcount_order != 4;
    if (options.version != 2 && options.version != 3) throw Unsupported{name, "QCOW2 has versions 2 and 3"};
    if (options.cluster_bits < 9 || options.cluster_bits > 21)
        throw Unsupported{name, "clusters of 512 bytes to 2 MiB"};
    if (options.refcount_order > 6) throw Unsupported{name, "reference counts of at most 64 bits"};
    if (options.version == 2 && new_features) throw Unsupported{name, "version 2 knows none of the features asked for"};
    if (options.extended_l2 && options.cluster_bits < 14)
        throw Unsupported{name, "extended L2 entries need clusters of at least 16 KiB"};
    if (!is_aligned(options.size, sector_size)) throw Unsupported{name, "a size that is a multiple of 512"};
}

Layout layout_of(const std::string& name, const Header& header) {
    Layout layout;
    const std::uint64_t cluster = header.cluster_size().count();
    layout.l1_entries = header.l1_entries_needed();
    if (layout.l1_entries > most_l1_entries) throw Unsupported{name, "the disk is too large for clusters of this size"};
    layout.l1_clusters = (layout.l1_entries * 8 + cluster - 1) / cluster;
    for (std::uint64_t before = 0; before != layout.total();) {
        before = layout.total();
        layout.blocks = (before + header.refcounts_per_block() - 1) / header.refcounts_per_block();
        layout.table_clusters = (layout.blocks * 8 + cluster - 1) / cluster;
    }
    return layout;
}

std::vector<std::byte> first_cluster(const std::string& name, const Header& header, const CreateOptions& options) {
    disk::Header raw{};
    raw.magic = disk::magic;
    raw.version = header.version;
    raw.cluster_bits = header.cluster_bits;
    raw.size = header.size.count();
    raw.l1_size = header.l1_size;
    raw.l1_table_offset = header.l1_table_offset.count();
    raw.refcount_table_offset = header.refcount_table_offset.count();
    raw.refcount_table_clusters = header.refcount_table_clusters;
    raw.incompatible_features = header.incompatible_features;
    raw.refcount_order = header.refcount_order;
    raw.header_length = header.header_length;
    raw.compression_type = header.compression_type;

    std::vector<std::byte> cluster(header.cluster_size().count());
    std::size_t at = header.header_length;
    const auto put = [&](const void* bytes, std::size_t length, std::size_t padded) {
        if (padded > cluster.size() - at) throw Unsupported{name, "no room for the header in clusters of this size"};
        if (length != 0) std::memcpy(cluster.data() + at, bytes, length);
        at += padded;
    };
    const auto put_extension = [&](std::uint32_t type, std::string_view data) {
        disk::ExtensionHeader head;
        head.type = type;
        head.length = static_cast<std::uint32_t>(data.size());
        put(&head, sizeof head, sizeof head);
        put(data.data(), data.size(), (data.size() + 7) / 8 * 8);
    };
    if (options.backing_format)
        put_extension(disk::extension_backing_format, backing_format_name(*options.backing_format));
    if (options.hidden) {
        const char flag[8] = {*options.hidden ? '\1' : '\0'};
        put_extension(disk::extension_hidden, {flag, sizeof flag});
    }
    put_extension(disk::extension_end, {});
    if (options.backing_name) {
        if (options.backing_name->empty() || options.backing_name->size() > 1023)
            throw Unsupported{name, "a name of the backing file has from 1 to 1023 bytes"};
        raw.backing_file_offset = at;
        raw.backing_file_size = static_cast<std::uint32_t>(options.backing_name->size());
        put(options.backing_name->data(), options.backing_name->size(), options.backing_name->size());
    }
    std::memcpy(cluster.data(), &raw, header.header_length);
    return cluster;
}

} // namespace

void create(BlockDevice& device, const CreateOptions& options) {
    check_options(device.name(), options);
    Header header = plain_header(options);
    const Layout layout = layout_of(device.name(), header);
    const Bytes cluster = header.cluster_size();
    const Bytes blocks = cluster * (1 + layout.table_clusters);
    header.l1_size = static_cast<std::uint32_t>(layout.l1_entries);
    header.l1_table_offset = blocks + cluster * layout.blocks;
    header.refcount_table_offset = cluster;
    header.refcount_table_clusters = static_cast<std::uint32_t>(layout.table_clusters);
    const auto head = first_cluster(device.name(), header, options);

    if (!device.fixed_size()) {
        device.set_size(0_B);
        device.set_size(cluster * layout.total());
    } else if (device.size() < cluster * layout.total()) {
        throw NoSpace{device.name(), cluster * layout.total(), device.size()};
    } else {
        device.zero({0_B, cluster * layout.total()});
    }
    std::vector<disk::be64> table(layout.blocks);
    std::vector<std::byte> block(cluster.count());
    for (std::uint64_t index = 0; index < layout.blocks; ++index) {
        table[index] = (blocks + cluster * index).count();
        std::ranges::fill(block, std::byte{0});
        const std::uint64_t first = index * header.refcounts_per_block();
        for (std::uint64_t used = first; used < std::min(layout.total(), first + header.refcounts_per_block()); ++used)
            encode_refcount(block, used - first, header.refcount_order, 1);
        device.write_at(blocks + cluster * index, block);
    }
    device.write_at(cluster, std::as_bytes(std::span{table}));
    device.flush();
    device.write_at(0_B, head);
    device.flush();
}

} // namespace coppice::qcow2
