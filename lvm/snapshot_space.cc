#include "lvm/snapshot_space.h"

#include <algorithm>
#include <stdexcept>

namespace coppice::lvm {

SnapshotNeed snapshot_need(const SnapshotRequest& request, Allocation allocation) {
    if (request.leaf_format == VolumeFormat::raw) throw std::logic_error{"a raw volume has no parent"};
    const Bytes full = sm::full(request.leaf_format, request.virtual_size);
    const Bytes thin = sm::thin(request.leaf_format, request.virtual_size);
    const bool thick = allocation == Allocation::thick;
    SnapshotNeed need;
    need.new_leaf = request.attached || (thick && !request.is_a_snapshot) ? full : thin;
    if (request.kind == SnapshotKind::snapshot) need.second_leaf = thin;
    if (request.kind == SnapshotKind::clone) need.second_leaf = thick ? full : thin;
    if (request.format == VolumeFormat::vhd) {
        const Bytes base = deflated(request.end);
        if (base < request.lv_size) need.given_back = request.lv_size - base;
    }
    return need;
}

SnapshotVerdict snapshot_verdict(const std::vector<SnapshotRequest>& requests, Allocation allocation, Bytes free) {
    SnapshotVerdict verdict{true, 0_B, free, std::nullopt};
    Bytes taken;
    Bytes given;
    for (std::size_t at = 0; at < requests.size(); ++at) {
        const SnapshotNeed need = snapshot_need(requests[at], allocation);
        taken += need.new_leaf + need.second_leaf;
        given += need.given_back;
        // sm subtracts what the base will give back before it has done so.
        const Bytes peak = taken + snapshot_journals;
        if (peak > given) verdict.need = std::max(verdict.need, peak - given);
        if (verdict.need > free && verdict.possible) {
            verdict.possible = false;
            verdict.fails_at = at;
        }
    }
    return verdict;
}

} // namespace coppice::lvm
