#include "lvm/thick_space.h"

#include "format/base/error.h"

#include <algorithm>
#include <string>

namespace coppice::lvm {
namespace {

constexpr Bytes largest_l1 = 32_MiB; // what QEMU's programs open
constexpr Bytes vhd_block = 2_MiB;
constexpr Bytes vhd_page = 4_KiB;
constexpr Bytes vhd_bitmap = 512_B;
constexpr Bytes vhd_footer = 512_B;
constexpr Bytes vhd_header = 1_KiB;
constexpr Bytes vhd_locators = 3 * 512_B;
constexpr Bytes preallocated_vhd = 2_TiB; // sm makes room for the tables of a disk that large
constexpr Bytes smallest_qcow2 = 64_KiB;

[[noreturn]] void too_large(VolumeFormat format, Bytes size, const std::string& why) {
    throw Refused{"virtual-size", format == VolumeFormat::vhd ? "VHD" : "QCOW2 image",
                  "a disk of " + std::to_string(size.count()) + " bytes: " + why};
}

void require_vhd_size(Bytes size) {
    if (size > largest_vhd) too_large(VolumeFormat::vhd, size, "the limit is 2040 GiB");
}

void require_geometry(const Qcow2Geometry& geometry) {
    if (geometry.cluster_bits < 9 || geometry.cluster_bits > 21 || geometry.refcount_order > 6 ||
        (geometry.extended_l2 && geometry.cluster_bits < 14))
        throw std::logic_error{"no QCOW2 image has this geometry"};
}

std::uint64_t l1_clusters(Bytes size, const Qcow2Geometry& geometry) {
    const Bytes table = Bytes{8} * units_needed(size, geometry.table_covers());
    if (table > largest_l1)
        too_large(VolumeFormat::qcow2, size,
                  "its L1 table would be larger than 32 MiB with clusters of " +
                      std::to_string(geometry.cluster_size().count()) + " bytes");
    return units_needed(table, geometry.cluster_size());
}

/// Refcount blocks and table for `clusters` of other things.
std::uint64_t refcount_clusters(std::uint64_t clusters, const Qcow2Geometry& geometry) {
    const Bytes cluster = geometry.cluster_size();
    const std::uint64_t per_block = (cluster.count() * 8) >> geometry.refcount_order;
    std::uint64_t own = 0;
    for (;;) {
        const std::uint64_t blocks = units_needed(Bytes{clusters} + Bytes{own}, Bytes{per_block});
        const std::uint64_t table = units_needed(Bytes{8} * blocks, cluster);
        if (blocks + table == own) return own;
        own = blocks + table;
    }
}

} // namespace

Bytes lv_size(Bytes used, Bytes extent) {
    return round_up(std::max(used, 1_B), extent);
}

Extents extents_for(Bytes used, Bytes extent) {
    return Extents{lv_size(used, extent) / extent};
}

namespace sm {

Bytes round_up_to(Bytes unit, Bytes value) {
    return round_up(std::max(value, 1_B), unit);
}

Bytes empty_vhd(Bytes virtual_size) {
    const std::uint64_t blocks = virtual_size / 1_MiB / 2;
    const Bytes table = round_up_to(512_B, Bytes{3072} + Bytes{4} * blocks);
    return round_up_to(4_KiB, table + Bytes{blocks / 8});
}

Bytes bitmap_vhd(Bytes virtual_size) {
    return vhd_page * units_needed(virtual_size, vhd_block);
}

Bytes empty_qcow2(Bytes virtual_size, const Qcow2Geometry& geometry) {
    require_geometry(geometry);
    const Bytes cluster = geometry.cluster_size();
    const Bytes aligned = round_up_to(cluster, virtual_size);
    const std::uint64_t l1 = l1_clusters(aligned, geometry);
    const std::uint64_t tables = units_needed(aligned, geometry.table_covers());
    const std::uint64_t metadata = 1 + l1 + tables;
    return cluster * (metadata + refcount_clusters(metadata + aligned / cluster, geometry));
}

Bytes full_vhd(Bytes virtual_size) {
    require_vhd_size(virtual_size);
    return round_up_to(usual_extent,
                       virtual_size + empty_vhd(std::max(virtual_size, preallocated_vhd)) + bitmap_vhd(virtual_size));
}

Bytes thin_vhd(Bytes virtual_size) {
    require_vhd_size(virtual_size);
    return round_up_to(usual_extent, empty_vhd(std::max(virtual_size, preallocated_vhd)));
}

Bytes full_qcow2(Bytes virtual_size, const Qcow2Geometry& geometry) {
    return round_up_to(usual_extent, virtual_size + empty_qcow2(std::max(virtual_size, smallest_qcow2), geometry));
}

Bytes thin_qcow2(Bytes virtual_size, const Qcow2Geometry& geometry) {
    return round_up_to(usual_extent, empty_qcow2(std::max(virtual_size, smallest_qcow2), geometry));
}

Bytes raw(Bytes virtual_size) {
    return round_up_to(usual_extent, virtual_size);
}

Bytes full(VolumeFormat format, Bytes virtual_size) {
    switch (format) {
    case VolumeFormat::raw:
        return raw(virtual_size);
    case VolumeFormat::vhd:
        return full_vhd(virtual_size);
    case VolumeFormat::qcow2:
        return full_qcow2(virtual_size);
    }
    throw std::logic_error{"a volume without format"};
}

Bytes thin(VolumeFormat format, Bytes virtual_size) {
    switch (format) {
    case VolumeFormat::raw:
        return raw(virtual_size);
    case VolumeFormat::vhd:
        return thin_vhd(virtual_size);
    case VolumeFormat::qcow2:
        return thin_qcow2(virtual_size);
    }
    throw std::logic_error{"a volume without format"};
}

} // namespace sm

Bytes qcow2_end(Bytes virtual_size, const Qcow2Geometry& geometry, std::uint64_t clusters, std::uint64_t tables) {
    require_geometry(geometry);
    const Bytes used = Bytes{1 + l1_clusters(virtual_size, geometry)} + Bytes{clusters} + Bytes{tables};
    return geometry.cluster_size() * (used.count() + refcount_clusters(used.count(), geometry));
}

Bytes qcow2_full_end(Bytes virtual_size, const Qcow2Geometry& geometry) {
    require_geometry(geometry);
    return qcow2_end(virtual_size, geometry, units_needed(virtual_size, geometry.cluster_size()),
                     units_needed(virtual_size, geometry.table_covers()));
}

Bytes qcow2_empty_end(Bytes virtual_size, const Qcow2Geometry& geometry) {
    return qcow2_end(virtual_size, geometry, 0, 0);
}

Bytes vhd_metadata_end(Bytes reserved, VhdKind kind) {
    const std::uint64_t blocks = units_needed(reserved, vhd_block);
    const Bytes table = vhd_footer + vhd_header + round_up(Bytes{4} * blocks, 512_B);
    // The header of the map, and one bit for each block.
    const Bytes map = 512_B + std::max(round_up(Bytes{units_needed(Bytes{blocks}, Bytes{8})}, 512_B), 512_B);
    return table + map + (kind == VhdKind::differencing ? vhd_locators : 0_B);
}

Bytes vhd_end(Bytes reserved, VhdKind kind, std::uint64_t blocks) {
    const Bytes metadata = vhd_metadata_end(reserved, kind);
    if (blocks == 0) return metadata + vhd_footer;
    // Data begins on a page, its bitmap in the sector before; the rest of that page is a gap.
    const Bytes first = round_up(metadata + vhd_bitmap, vhd_page);
    return first + (vhd_block + vhd_page) * (blocks - 1) + vhd_block + vhd_footer;
}

Bytes vhd_full_end(Bytes virtual_size, Bytes reserved, VhdKind kind) {
    require_vhd_size(virtual_size);
    return vhd_end(std::max(virtual_size, reserved), kind, units_needed(virtual_size, vhd_block));
}

Bytes inflated_qcow2(Bytes virtual_size, const Qcow2Geometry& geometry) {
    return std::max(sm::full_qcow2(virtual_size), lv_size(qcow2_full_end(virtual_size, geometry)));
}

Bytes deflated(Bytes end, Bytes extent) {
    return lv_size(end, extent);
}

} // namespace coppice::lvm
