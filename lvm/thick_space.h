// The arithmetic of thick volumes: how large an LV is by the storage manager's rules, and how large its image really
// gets. Pure; sizes in bytes. docs/design/thick-space.md says which of the two is used where.
//
// Every function throws Refused("virtual-size") where the format cannot hold a disk of that size, and
// std::overflow_error where a sum leaves 64 bits.
#pragma once

#include "format/base/units.h"

#include <cstdint>

namespace coppice::lvm {

/// What sm rounds every LV to, whatever the extents of the VG. LVM rounds that up to whole extents of its own.
inline constexpr Bytes usual_extent = 4_MiB;
inline constexpr Bytes largest_vhd = 2040_GiB;
/// What sm creates at most, so that a full image stays below 16 TiB. Larger ones are images all the same.
inline constexpr Bytes largest_qcow2_by_sm{17'589'500'641'280};

enum class VolumeFormat { raw, vhd, qcow2 };

struct Qcow2Geometry {
    unsigned cluster_bits = 16;  ///< 9 to 21
    bool extended_l2 = false;    ///< from 14 cluster bits on
    unsigned refcount_order = 4; ///< counts of 1 << order bits, 0 to 6

    Bytes cluster_size() const { return Bytes{1ULL << cluster_bits}; }
    Bytes l2_entry() const { return extended_l2 ? 16_B : 8_B; }
    /// Guest bytes below one L2 table.
    Bytes table_covers() const { return cluster_size() * (cluster_size() / l2_entry()); }
    bool operator==(const Qcow2Geometry&) const = default;
};

/// The size of an LV for `used` bytes.
Bytes lv_size(Bytes used, Bytes extent = usual_extent);
Extents extents_for(Bytes used, Bytes extent = usual_extent);

// As sm computes it (package 3.2.12-21.x). The names are sm's: "empty" is the overhead of an image without data,
// "bitmap" what comes with the data, "full" and "thin" are sizes of LVs.
namespace sm {

/// `value` in whole `unit`, and one unit for nothing.
Bytes round_up_to(Bytes unit, Bytes value);

Bytes empty_vhd(Bytes virtual_size);
Bytes bitmap_vhd(Bytes virtual_size);
/// The `required` figure of `qemu-img measure`: everything but data of an image that is full.
Bytes empty_qcow2(Bytes virtual_size, const Qcow2Geometry& geometry = {});

Bytes full_vhd(Bytes virtual_size);
Bytes thin_vhd(Bytes virtual_size);
/// sm always passes clusters of 64 KiB, whatever the image has.
Bytes full_qcow2(Bytes virtual_size, const Qcow2Geometry& geometry = {});
Bytes thin_qcow2(Bytes virtual_size, const Qcow2Geometry& geometry = {});
Bytes raw(Bytes virtual_size);

Bytes full(VolumeFormat format, Bytes virtual_size);
Bytes thin(VolumeFormat format, Bytes virtual_size);

} // namespace sm

/// The end of a QCOW2 image that holds `clusters` of data below `tables` L2 tables and has no holes.
Bytes qcow2_end(Bytes virtual_size, const Qcow2Geometry& geometry, std::uint64_t clusters, std::uint64_t tables);
/// The same when every cluster of the guest's disk is there: how far an image of this geometry can ever get, because
/// holes are filled before a device is full.
Bytes qcow2_full_end(Bytes virtual_size, const Qcow2Geometry& geometry);
/// Of an image that has just been made.
Bytes qcow2_empty_end(Bytes virtual_size, const Qcow2Geometry& geometry);

enum class VhdKind { dynamic, differencing };

/// The end of what stands before the blocks, with a table for a disk of `reserved` bytes: footer, header, block table,
/// batmap, and three locators of one sector each.
Bytes vhd_metadata_end(Bytes reserved, VhdKind kind);
/// The end of a VHD with `blocks` of 2 MiB, its footer included.
Bytes vhd_end(Bytes reserved, VhdKind kind, std::uint64_t blocks);
Bytes vhd_full_end(Bytes virtual_size, Bytes reserved, VhdKind kind);

/// The LV in which a QCOW2 image of this geometry can be written to anywhere: as large as sm makes it, and larger where
/// sm's is too small.
Bytes inflated_qcow2(Bytes virtual_size, const Qcow2Geometry& geometry);
/// The smallest LV that holds an image with this end (a VHD's footer included), which is what an image that nobody
/// writes to needs.
Bytes deflated(Bytes end, Bytes extent = usual_extent);

} // namespace coppice::lvm
