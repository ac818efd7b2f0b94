// How far a QCOW2 image reaches after a merge into it: new data clusters, the L2 tables that are touched for the first
// time, a longer L1 table, and the refcount blocks that count all of these.
//
// Exact where the merge frees nothing (no compressed cluster and no data is replaced or zeroed), its zeros cover whole
// units or nothing lies under them, and the refcount table need not move. An upper bound elsewhere.
#pragma once

#include "format/qcow2/allocation_model.h"
#include "format/qcow2/layer.h"
#include "format/target_space.h"

#include <memory>
#include <vector>

namespace coppice::qcow2 {

/// What the tables of an image say about guest clusters, as far as a writer cares.
struct GuestClusters {
    RangeList own;              ///< have a host cluster of their own, which can be written over
    RangeList compressed;       ///< will be replaced whole
    bool all_compressed = true; ///< false: there are more of them than `compressed` tells
    bool border_stays = true;   ///< the cluster in which the disk ends holds data before that end
    RangeList zeros;            ///< units that are marked as zeros
    std::vector<bool> tables;   ///< by entry of the L1 table: it has an L2 table of its own
};

class MergedSize final : public TargetSpace {
public:
    MergedSize(const Header& header, HostMap host, GuestClusters guest);

    Bytes end() const override { return cluster_ * host_.counted_end.count(); }
    Bytes end_after(const MergeInput& merge) const override;
    /// Who writes to it for its guest takes the first cluster that is free, and has no use for leaks.
    Bytes end_when_full(Bytes virtual_size) const override;

private:
    /// What a merge asks of the allocator.
    struct Touched {
        RangeList clusters; ///< in which something is stored
        RangeList mapped;   ///< about which an L2 table has to say something
    };

    Bytes end_after(const MergeInput& merge, const HostMap& host) const;
    Touched touched_by_zeros(RangeList zeros, const std::vector<Bytes>& seams, const RangeList& beneath,
                             Bytes visible_end) const;
    std::uint64_t new_tables(const RangeList& mapped) const;
    void grow_l1(AllocationModel& model, Bytes size) const;

    unsigned version_;
    Bytes cluster_;
    Bytes unit_;
    Bytes table_covers_;
    Bytes size_;
    std::uint64_t l1_entries_;
    ClusterRun l1_place_;
    HostMap host_;
    GuestClusters guest_;
};

/// Reads the counts, and every L2 table. More than `most_ranges` stretches of one kind are not remembered, which makes
/// the result an upper bound.
std::unique_ptr<const TargetSpace> merged_size(const Layer& layer, std::size_t most_ranges = 1U << 20);

} // namespace coppice::qcow2
