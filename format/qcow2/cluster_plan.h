// What writing into one guest cluster means: which units of its L2 entry become data or zeros, or nothing. Pure apart
// from the questions it asks of what lies beneath and of a compressed cluster's content.
//
// A unit is what the entry decides on: a subcluster with extended L2, else the whole cluster. One rule serves both.
#pragma once

#include "format/merge_target.h"
#include "format/qcow2/l2_entry.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace coppice::qcow2 {

/// The L2 entry of a cluster, decoded, with its place on the guest's disk.
struct GuestCluster {
    Bytes begin;
    Bytes visible_end; ///< the end of the cluster or of the disk
    L2Entry entry;
};

/// Sets of units, one bit each.
struct ClusterPlan {
    std::uint32_t write = 0;    ///< stand in the host cluster afterwards; the bytes written, the rest filled
    std::uint32_t zero = 0;     ///< read as zeros by the entry's word
    std::uint32_t unmapped = 0; ///< read from beneath, where nothing is

    bool changes_nothing() const { return (write | zero | unmapped) == 0; }
};

class ClusterPlanner {
public:
    /// All references outlive it.
    ClusterPlanner(const L2Rules& rules, const Beneath& beneath) : rules_{rules}, beneath_{beneath} {}

    /// `writes` are those that overlap the cluster, ascending. `inflate` yields the content of a compressed cluster.
    /// With a compressed entry, either nothing changes or every unit is in the plan.
    using Inflate = std::function<std::vector<std::byte>()>;
    ClusterPlan plan(const GuestCluster& cluster, std::span<const GuestWrite> writes, const Inflate& inflate) const;

    /// Whether something under the image may be seen through an unallocated `range`, before or after the merge.
    bool may_show(ByteRange range) const;
    /// Whether bytes other than zero are seen there.
    bool shows(ByteRange range) const;

private:
    enum class Unit { unmapped, zero, data, compressed };
    Unit unit_state(const L2Entry& entry, std::uint32_t bit) const;

    const L2Rules& rules_;
    const Beneath& beneath_;
};

} // namespace coppice::qcow2
