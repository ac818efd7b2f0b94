#include "format/qcow2/allocation_model.h"

#include "format/base/error.h"

#include <algorithm>

namespace coppice::qcow2 {
namespace {

// As in allocator.cc: shorter free stretches are left alone while the device has room behind the end.
constexpr Bytes worthwhile = 1_MiB;

} // namespace

AllocationModel::AllocationModel(const HostMap& host)
    : cluster_size_{host.cluster_size}, per_block_{host.per_block()}, long_run_{std::max<std::uint64_t>(
                                                                          worthwhile / cluster_size_, 1)},
      end_{host.end}, highest_{host.end}, blocks_{host.blocks}, table_entries_{host.table_entries()} {
    for (const auto& [first, count] : host.free)
        note_free(first, count);
}

void AllocationModel::note_free(ClusterNumber first, std::uint64_t count) {
    free_[first] = count;
    if (count >= long_run_) long_.insert(first);
}

void AllocationModel::forget_free(ClusterNumber first) {
    free_.erase(first);
    long_.erase(first);
}

ClusterRun AllocationModel::cut_free(ClusterNumber first, std::uint64_t count) {
    const std::uint64_t all = free_.at(first);
    forget_free(first);
    if (all > count) note_free(first + ClusterNumber{count}, all - count);
    return {first, count};
}

void AllocationModel::remember(ClusterRun run) {
    uncounted_.push_back(run);
}

void AllocationModel::append(std::uint64_t clusters) {
    remember({end_, clusters});
    end_ += ClusterNumber{clusters};
    highest_ = std::max(highest_, end_);
}

void AllocationModel::take(std::uint64_t clusters) {
    while (clusters > 0) {
        if (current_.count == 0 && !long_.empty()) current_ = cut_free(*long_.begin(), free_.at(*long_.begin()));
        if (current_.count == 0) {
            append(clusters);
            return;
        }
        const std::uint64_t part = std::min(clusters, current_.count);
        remember({current_.first, part});
        current_ = {current_.first + ClusterNumber{part}, current_.count - part};
        clusters -= part;
    }
}

void AllocationModel::take_run(std::uint64_t clusters) {
    const auto fits = std::ranges::find_if(free_, [&](const auto& run) { return run.second >= clusters; });
    if (fits != free_.end())
        remember(cut_free(fits->first, clusters));
    else
        append(clusters);
}

/// Blocks lie behind what they count, or count themselves: the smallest number of them that is enough, in whatever
/// order Allocator asks for them.
void AllocationModel::count_blocks() {
    while (!uncounted_.empty()) {
        const std::vector<ClusterRun> taken = std::move(uncounted_);
        uncounted_.clear();
        std::uint64_t missing = 0;
        for (const ClusterRun& run : taken) {
            if (run.count == 0) continue;
            const std::uint64_t last = (run.end().count() - 1) / per_block_;
            if (last >= Refcounts::most_table_entries)
                throw NoSpace{"the refcount table of a QCOW2 image", cluster_size_ * run.end().count(),
                              cluster_size_ * (Refcounts::most_table_entries * per_block_)};
            blocks_needed_ = std::max(blocks_needed_, last + 1);
            if (blocks_.size() <= last) blocks_.resize(last + 1);
            for (std::uint64_t block = run.first.count() / per_block_; block <= last; ++block) {
                if (blocks_[block]) continue;
                blocks_[block] = true;
                ++missing;
            }
        }
        take(missing);
    }
}

void AllocationModel::count() {
    count_blocks();
    for (;;) {
        const std::uint64_t moves = table_moves(table_entries_, blocks_needed_, cluster_size_);
        if (moves <= moves_counted_) return;
        append(moves - moves_counted_);
        moves_counted_ = moves;
        count_blocks();
    }
}

std::uint64_t table_moves(std::uint64_t entries, std::uint64_t needed, Bytes cluster_size) {
    if (needed <= entries) return 0;
    const std::uint64_t per_cluster = cluster_size.count() / 8;
    const auto wanted = [](std::uint64_t enough) {
        return std::min(enough + enough / 2 + 8, Refcounts::most_table_entries);
    };
    // The last place has what Allocator wants to have. Each one before was too small for what came next.
    std::uint64_t clusters = (wanted(needed) + per_cluster - 1) / per_cluster;
    for (std::uint64_t most = (needed - 1) / per_cluster * per_cluster; most > entries;) {
        clusters += most / per_cluster;
        // The largest number that would have led to a table of this size at most.
        std::uint64_t enough = most * 2 / 3;
        while (enough > 0 && wanted(enough) > most)
            --enough;
        if (enough == 0) break;
        most = (enough - 1) / per_cluster * per_cluster;
    }
    return clusters;
}

} // namespace coppice::qcow2
