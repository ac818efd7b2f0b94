#include "format/qcow2/cluster_plan.h"

namespace coppice::qcow2 {
namespace {

constexpr Bytes most_read = 1_MiB;

bool reads_zero(const GuestView& view, ByteRange range) {
    std::vector<std::byte> bytes;
    for (Bytes at = range.begin; at < range.end;) {
        const Bytes length = std::min(most_read, range.end - at);
        if (view.may_hold_data(ByteRange::at(at, length))) {
            bytes.resize(length.count());
            view.read(at, bytes);
            if (!all_zero(bytes)) return false;
        }
        at += length;
    }
    return true;
}

} // namespace

bool ClusterPlanner::may_show(ByteRange range) const {
    if (beneath_.now.may_hold_data(range)) return true;
    return &beneath_.now != &beneath_.after && beneath_.after.may_hold_data(range);
}

bool ClusterPlanner::shows(ByteRange range) const {
    if (!reads_zero(beneath_.now, range)) return true;
    return &beneath_.now != &beneath_.after && !reads_zero(beneath_.after, range);
}

ClusterPlanner::Unit ClusterPlanner::unit_state(const L2Entry& entry, std::uint32_t bit) const {
    if (entry.compressed) return Unit::compressed;
    if ((entry.data_units & bit) != 0) return Unit::data;
    return (entry.zero_units & bit) != 0 ? Unit::zero : Unit::unmapped;
}

ClusterPlan ClusterPlanner::plan(const GuestCluster& cluster, std::span<const GuestWrite> writes,
                                 const Inflate& inflate) const {
    ClusterPlan plan;
    std::vector<std::byte> inflated;
    const bool can_mark = rules_.version >= 3;

    const auto zero_whole = [&](std::uint32_t bit, Unit state, ByteRange unit) {
        if (state == Unit::zero) return;
        if (!may_show(unit)) {
            if (state != Unit::unmapped) plan.unmapped |= bit;
        } else if (can_mark) {
            plan.zero |= bit;
        } else {
            plan.write |= bit;
        }
    };
    const auto zero_part = [&](std::uint32_t bit, Unit state, ByteRange part) {
        if (state == Unit::zero) return;
        if (state == Unit::unmapped && !shows(part)) return;
        if (state == Unit::compressed) {
            if (inflated.empty()) inflated = inflate();
            if (all_zero(std::span{inflated}.subspan((part.begin - cluster.begin).count(), part.length().count())))
                return;
        }
        plan.write |= bit;
    };

    const std::uint32_t all = rules_.units() == 32 ? ~std::uint32_t{0} : 1;
    for (unsigned index = 0; index < rules_.units(); ++index) {
        const std::uint32_t bit = std::uint32_t{1} << index;
        const Bytes begin = cluster.begin + rules_.unit_size() * index;
        if (begin >= cluster.visible_end) break;
        const ByteRange unit{begin, std::min(begin + rules_.unit_size(), cluster.visible_end)};
        const Unit state = unit_state(cluster.entry, bit);
        Bytes covered;
        bool holds_data = false;
        while (!writes.empty() && writes.front().guest.end <= unit.begin)
            writes = writes.subspan(1);
        for (const GuestWrite& write : writes) {
            if (write.guest.begin >= unit.end) break;
            covered += intersection(write.guest, unit).length();
            holds_data = holds_data || write.source != GuestWrite::Source::zeros;
        }
        if (covered == 0_B) continue;
        if (holds_data) {
            plan.write |= bit;
        } else if (covered == unit.length()) {
            zero_whole(bit, state, unit);
        } else {
            for (const GuestWrite& write : writes) {
                if (write.guest.begin >= unit.end) break;
                zero_part(bit, state, intersection(write.guest, unit));
            }
        }
    }
    // A compressed cluster goes as a whole: what is not replaced is written out plainly.
    if (cluster.entry.compressed && !plan.changes_nothing()) plan.write |= all & ~(plan.zero | plan.unmapped);
    return plan;
}

} // namespace coppice::qcow2
