#include "lvm/snapshot_space.h"

#include <gtest/gtest.h>

namespace coppice::lvm {
namespace {

SnapshotRequest vhd(Bytes size, Bytes end) {
    SnapshotRequest request;
    request.virtual_size = size;
    request.lv_size = sm::full_vhd(size);
    request.end = end;
    return request;
}

SnapshotRequest qcow2(Bytes size) {
    SnapshotRequest request;
    request.format = request.leaf_format = VolumeFormat::qcow2;
    request.virtual_size = size;
    request.lv_size = sm::full_qcow2(size);
    request.end = 1_MiB; // sm does not look
    return request;
}

TEST(SnapshotSpace, OfAThickVhdIsItsNewLeafWithoutWhatItsBaseLeaves) {
    const SnapshotRequest request = vhd(10_GiB, 3_GiB + 512_B);
    const SnapshotNeed need = snapshot_need(request, Allocation::thick);
    EXPECT_EQ(need.new_leaf, 10'766'778'368_B);
    EXPECT_EQ(need.second_leaf, 8_MiB);
    EXPECT_EQ(need.given_back, 10'766'778'368_B - (3_GiB + 4_MiB));
    const Bytes total = 3_GiB + 4_MiB + 8_MiB + 8_MiB;
    EXPECT_EQ(snapshot_verdict({request}, Allocation::thick, 1_TiB).need, total);
}

TEST(SnapshotSpace, VerdictTurnsAtTheLastExtent) {
    for (const Bytes missing : {0_B, 1_B, 4_MiB}) {
        const Bytes need = snapshot_verdict({qcow2(10_GiB)}, Allocation::thick, 1_TiB).need;
        EXPECT_EQ(need, 10'741'612'544_B + 4_MiB + 8_MiB);
        const SnapshotVerdict verdict = snapshot_verdict({qcow2(10_GiB)}, Allocation::thick, need - missing);
        EXPECT_EQ(verdict.possible, missing == 0_B);
        EXPECT_EQ(verdict.need, need);
        EXPECT_EQ(verdict.free, need - missing);
    }
}

TEST(SnapshotSpace, DependsOnWhoGetsAFullLeaf) {
    SnapshotRequest request = qcow2(10_GiB);
    const Bytes full = sm::full_qcow2(10_GiB);
    const auto leaves = [&](Allocation allocation) {
        const SnapshotNeed need = snapshot_need(request, allocation);
        return std::pair{need.new_leaf, need.second_leaf};
    };
    EXPECT_EQ(leaves(Allocation::thick), std::pair(full, 4_MiB));
    EXPECT_EQ(leaves(Allocation::thin), std::pair(4_MiB, 4_MiB));
    request.attached = true;
    EXPECT_EQ(leaves(Allocation::thin), std::pair(full, 4_MiB));
    request.is_a_snapshot = true;
    EXPECT_EQ(leaves(Allocation::thick), std::pair(full, 4_MiB));
    request.attached = false;
    EXPECT_EQ(leaves(Allocation::thick), std::pair(4_MiB, 4_MiB));
    request.kind = SnapshotKind::clone;
    EXPECT_EQ(leaves(Allocation::thick), std::pair(4_MiB, full));
    EXPECT_EQ(leaves(Allocation::thin), std::pair(4_MiB, 4_MiB));
    request.kind = SnapshotKind::single;
    EXPECT_EQ(leaves(Allocation::thin), std::pair(4_MiB, 0_B));
}

TEST(SnapshotSpace, OfARawVolumeGivesNothingBack) {
    SnapshotRequest request = vhd(8_GiB, 0_B);
    request.format = VolumeFormat::raw;
    request.lv_size = 8_GiB;
    EXPECT_EQ(snapshot_need(request, Allocation::thick).given_back, 0_B);
    request.leaf_format = VolumeFormat::raw;
    EXPECT_THROW(snapshot_need(request, Allocation::thick), std::logic_error);
}

/// What sm does with each of them in turn.
bool all_succeed(const std::vector<SnapshotRequest>& requests, Bytes free) {
    std::int64_t left = static_cast<std::int64_t>(free.count());
    for (const SnapshotRequest& request : requests) {
        const SnapshotNeed need = snapshot_need(request, Allocation::thick);
        const auto change = static_cast<std::int64_t>((need.new_leaf + need.second_leaf).count()) -
                            static_cast<std::int64_t>(need.given_back.count());
        if (change + (8 << 20) > left) return false;
        left -= change;
    }
    return true;
}

TEST(SnapshotSpace, OfSeveralIsTheHighestMoment) {
    // The first one gives more than it takes, the last one needs most.
    SnapshotRequest old_snapshot = vhd(10_GiB, 1_GiB);
    old_snapshot.is_a_snapshot = true;
    const std::vector<std::vector<SnapshotRequest>> orders{
        {old_snapshot, qcow2(1_GiB), vhd(4_GiB, 4_GiB)},
        {qcow2(1_GiB), old_snapshot, vhd(4_GiB, 4_GiB)},
        {vhd(4_GiB, 4_GiB), qcow2(1_GiB), old_snapshot},
        {old_snapshot},
        {},
    };
    for (const auto& order : orders) {
        const Bytes need = snapshot_verdict(order, Allocation::thick, 0_B).need;
        EXPECT_TRUE(all_succeed(order, need));
        EXPECT_TRUE(snapshot_verdict(order, Allocation::thick, need).possible);
        if (need == 0_B) continue;
        EXPECT_FALSE(all_succeed(order, need - 4_MiB));
        EXPECT_FALSE(snapshot_verdict(order, Allocation::thick, need - 4_MiB).possible);
    }
    EXPECT_EQ(snapshot_verdict(orders[1], Allocation::thick, 0_B).fails_at, 0U);
    EXPECT_EQ(snapshot_verdict(orders[0], Allocation::thick, 0_B).need, 0_B);
    EXPECT_EQ(snapshot_verdict({orders[0][0], qcow2(20_GiB)}, Allocation::thick, 0_B).fails_at, 1U);
}

} // namespace
} // namespace coppice::lvm
