#include "format/qcow2/merged_size.h"

#include "format/base/error.h"

#include <algorithm>

namespace coppice::qcow2 {

MergedSize::MergedSize(const Header& header, HostMap host, GuestClusters guest)
    : version_{header.version}, cluster_{header.cluster_size()}, unit_{header.mapping_unit()},
      table_covers_{header.l2_covers()}, size_{header.virtual_size()},
      l1_entries_{header.l1_size}, l1_place_{ClusterNumber{header.l1_table_offset / cluster_},
                                             units_needed(Bytes{header.l1_size * std::uint64_t{8}}, cluster_)},
      host_{std::move(host)}, guest_{std::move(guest)} {}

/// Zeros are a mark where a whole unit is covered and something shows through; a unit that is covered in part has to
/// be written down, unless it reads as zeros anyway.
MergedSize::Touched MergedSize::touched_by_zeros(RangeList zeros, const std::vector<Bytes>& seams,
                                                 const RangeList& beneath, Bytes visible_end) const {
    Touched result;
    zeros = subtracted(zeros, guest_.zeros);
    RangeList whole;
    RangeList parts;
    for (const ByteRange& run : zeros) {
        const Bytes begin = round_up(run.begin, unit_);
        const Bytes end = run.end >= visible_end ? round_up(visible_end, unit_) : round_down(run.end, unit_);
        if (begin >= end) {
            add_range(parts, run);
            continue;
        }
        if (run.begin < begin) add_range(parts, {run.begin, begin});
        add_range(whole, {begin, end});
        if (end < run.end) add_range(parts, {end, run.end});
    }
    RangeList torn; // units of which one half may not be written at all
    for (const Bytes seam : seams)
        if (!is_aligned(seam, unit_)) add_range(torn, ByteRange::at(round_down(seam, unit_), unit_));
    torn = intersected(torn, whole);
    whole = subtracted(whole, torn);
    parts = united(parts, torn);
    const RangeList marks = intersected(rounded_out(intersected(whole, beneath), unit_), whole);
    const RangeList written = intersected(parts, beneath);
    // A compressed cluster of which something remains is written out plainly.
    const RangeList replaced = guest_.all_compressed ? intersected(zeros, guest_.compressed) : zeros;
    const RangeList left = subtracted(rounded_out(replaced, cluster_), whole);
    result.clusters = united(rounded_out(written, cluster_), rounded_out(left, cluster_));
    if (version_ < 3) result.clusters = united(result.clusters, rounded_out(marks, cluster_));
    result.mapped = united(united(marks, written), left);
    return result;
}

std::uint64_t MergedSize::new_tables(const RangeList& mapped) const {
    std::uint64_t count = 0;
    for (const ByteRange& range : rounded_out(mapped, table_covers_))
        for (std::uint64_t index = range.begin / table_covers_; index < range.end / table_covers_; ++index)
            if (index >= guest_.tables.size() || !guest_.tables[index]) ++count;
    return count;
}

void MergedSize::grow_l1(AllocationModel& model, Bytes size) const {
    const std::uint64_t entries = units_needed(size, table_covers_);
    if (entries > most_l1_entries)
        throw Refused{"virtual-size", "merge",
                      "a disk of " + std::to_string(size.count()) + " bytes is too large for clusters of " +
                          std::to_string(cluster_.count()) + " bytes"};
    if (entries <= l1_entries_ || (l1_entries_ > 0 && entries * 8 <= (cluster_ * l1_place_.count).count())) return;
    model.take_run(units_needed(Bytes{entries * 8}, cluster_));
    model.count();
}

Bytes MergedSize::end_after(const MergeInput& merge) const {
    return end_after(merge, host_);
}

Bytes MergedSize::end_after(const MergeInput& merge, const HostMap& host) const {
    const Bytes size = std::max(size_, merge.virtual_size);
    AllocationModel model{host};
    RangeList data = merge.data;
    RangeList zeros = merge.zeros;
    RangeList own = guest_.own;
    if (merge.rank == MergeInput::Rank::older) {
        // An older layer never reaches what a newer one maps.
        const RangeList kept = united(guest_.zeros, guest_.compressed);
        data = subtracted(data, kept);
        zeros = subtracted(zeros, kept);
    }
    Touched all{rounded_out(data, cluster_), data};
    const auto add = [&](const Touched& more) {
        all.clusters = united(all.clusters, more.clusters);
        all.mapped = united(all.mapped, more.mapped);
    };
    if (size > size_) {
        grow_l1(model, size);
        add(touched_by_zeros({{size_, size}}, {}, united(merge.beneath, merge.beneath_now), size));
        // Zeros have been made of everything behind the former end, so that these need no writing down.
        zeros = intersected(zeros, {{0_B, std::min(size, round_up(size_, unit_))}});
        // Hosts that old entries name behind it are given back.
        own = intersected(own, {{0_B, guest_.border_stays ? round_up(size_, cluster_) : round_down(size_, cluster_)}});
    }
    add(touched_by_zeros(std::move(zeros), merge.seams, merge.beneath, size));
    const RangeList fresh = subtracted(all.clusters, own);
    model.take(count_units(fresh, cluster_) + new_tables(all.mapped));
    model.count();
    return cluster_ * model.end().count();
}

Bytes MergedSize::end_when_full(Bytes virtual_size) const {
    HostMap packed = host_;
    for (const auto& [first, count] : host_.free)
        packed.end -= ClusterNumber{count};
    packed.end += ClusterNumber{host_.leaked};
    packed.free.clear();
    MergeInput all;
    all.virtual_size = virtual_size;
    all.data = {{0_B, virtual_size}};
    return std::max(end(), end_after(all, packed));
}

} // namespace coppice::qcow2
