// "May I snapshot?" on a volume group, exactly as the storage manager will answer it. Pure.
#pragma once

#include "lvm/thick_space.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace coppice::lvm {

enum class Allocation { thick, thin }; ///< of the SR

/// What is done to a VDI.
enum class SnapshotKind {
    snapshot, ///< `vdi_snapshot`: the VDI goes on in a new leaf, the snapshot gets another
    clone,    ///< `vdi_clone`: the same, and the second leaf is going to be written to
    single,   ///< internal: only the VDI's new leaf
};

struct SnapshotRequest {
    SnapshotKind kind = SnapshotKind::snapshot;
    VolumeFormat format = VolumeFormat::vhd;
    VolumeFormat leaf_format = VolumeFormat::vhd; ///< of the new leaves: `format`, but never raw
    Bytes virtual_size;
    Bytes lv_size;         ///< now
    Bytes end;             ///< of a VHD, its footer included. Others do not count: sm takes the whole LV for used
    bool attached = false; ///< for writing, on any host
    bool is_a_snapshot = false;
};

struct SnapshotNeed {
    Bytes new_leaf;
    Bytes second_leaf;
    Bytes given_back; ///< by the old leaf, which becomes the base
};

/// Two LVs of one extent each, for as long as it takes.
inline constexpr Bytes snapshot_journals = 2 * usual_extent;

SnapshotNeed snapshot_need(const SnapshotRequest& request, Allocation allocation);

struct SnapshotVerdict {
    bool possible = false;
    Bytes need; ///< the least free space with which all of them succeed
    Bytes free;
    std::optional<std::size_t> fails_at; ///< index of the first request that would be refused
};

/// The requests are carried out one after the other in this order, by an SR whose VG has `free` bytes of free extents.
SnapshotVerdict snapshot_verdict(const std::vector<SnapshotRequest>& requests, Allocation allocation, Bytes free);

} // namespace coppice::lvm
