#include "format/qcow2/rebuild.h"

#include "format/base/error.h"

#include <set>

namespace coppice::qcow2 {
namespace {

/// Appends the refcount blocks that `audit` needs behind everything in use. Returns where they stand.
std::vector<ClusterNumber> add_blocks(BlockDevice& device, const Header& header, const CountAudit& audit,
                                      Refcounts& counts) {
    std::set<std::uint64_t> missing;
    const auto need = [&](ClusterNumber cluster) {
        const std::uint64_t block = counts.block_of(cluster);
        if (block >= counts.table_entries())
            throw Unsupported{device.name(), "counts that its refcount table has no room for"};
        if (!counts.has_block(block)) missing.insert(block);
    };
    for (const CountCorrection& correction : audit.corrections) {
        if (correction.count == 0) continue;
        const std::uint64_t last = counts.block_of(correction.clusters.end() - ClusterNumber{1});
        for (std::uint64_t block = counts.block_of(correction.clusters.first); block <= last; ++block)
            need(ClusterNumber{block * counts.per_block()});
    }
    // The new blocks are counted too, possibly in one more block.
    for (std::size_t before = 0; before != missing.size();) {
        before = missing.size();
        for (std::uint64_t index = 0; index < before; ++index)
            need(audit.end + ClusterNumber{index});
    }
    const Bytes end = header.cluster_size() * (audit.end.count() + missing.size());
    if (!missing.empty() && device.size() < end) {
        if (device.fixed_size()) throw NoSpace{device.name(), end - device.size(), 0_B};
        device.set_size(end);
    }
    std::vector<ClusterNumber> places;
    for (const std::uint64_t block : missing) {
        places.push_back(audit.end + ClusterNumber{places.size()});
        counts.add_block(block, places.back());
    }
    return places;
}

} // namespace

void correct_counts(BlockDevice& device, const Header& header, const CountAudit& audit) {
    if (audit.corrections.empty()) return;
    Refcounts counts{device, header};
    const auto added = add_blocks(device, header, audit, counts);
    for (const CountCorrection& correction : audit.corrections) {
        if (correction.count > counts.largest())
            throw Unsupported{device.name(), "counts that are too large for their width"};
        for (ClusterNumber cluster = correction.clusters.first; cluster < correction.clusters.end();
             cluster += ClusterNumber{1})
            counts.set(cluster, correction.count);
    }
    for (const ClusterNumber cluster : added)
        counts.set(cluster, 1);
    counts.write_counts();
    device.flush();
    if (counts.has_new_blocks()) {
        counts.write_entries();
        device.flush();
    }
}

} // namespace coppice::qcow2
