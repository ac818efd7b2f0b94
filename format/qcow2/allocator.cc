#include "format/qcow2/allocator.h"

#include "format/base/error.h"
#include "format/qcow2/sector_edit.h"

#include <algorithm>
#include <stdexcept>

namespace coppice::qcow2 {
namespace {

// Going back for free stretches shorter than this would scatter what is written one after the other.
constexpr Bytes worthwhile = 1_MiB;
// Entries hold 56 bits of an offset.
constexpr std::uint64_t offset_limit = 1ULL << 56;
// Bounds the memory for an image that is full of holes; what is left out stays free and unused until the next opening.
constexpr std::size_t most_free_stretches = 1U << 16;

} // namespace

Allocator::Allocator(BlockDevice& device, Header& header, Refcounts& refcounts)
    : device_{device}, header_{header}, refcounts_{refcounts}, cluster_size_{header.cluster_size()},
      long_run_{std::max<std::uint64_t>(worthwhile / cluster_size_, 1)}, end_{refcounts.end()} {
    scan_free();
}

void Allocator::scan_free() {
    std::uint64_t first = 0;
    const auto close = [&](std::uint64_t stop) {
        if (stop > first && free_.size() < most_free_stretches) note_free(ClusterNumber{first}, stop - first);
        first = stop + 1;
    };
    for (std::uint64_t cluster = 0; cluster < end_.count(); ++cluster) {
        const std::uint64_t block = refcounts_.block_of(ClusterNumber{cluster});
        if (!refcounts_.has_block(block))
            cluster = std::min((block + 1) * refcounts_.per_block(), end_.count()) - 1;
        else if (refcounts_.get(ClusterNumber{cluster}) != 0)
            close(cluster);
    }
    close(end_.count());
}

void Allocator::note_free(ClusterNumber first, std::uint64_t count) {
    free_[first] = count;
    if (count >= long_run_) long_.insert(first);
}

void Allocator::forget_free(ClusterNumber first) {
    free_.erase(first);
    long_.erase(first);
}

void Allocator::add_free(ClusterRun run) {
    const auto after = free_.lower_bound(run.first);
    if (after != free_.begin()) {
        const auto before = std::prev(after);
        if (before->first + ClusterNumber{before->second} == run.first) {
            run = {before->first, before->second + run.count};
            forget_free(before->first);
        }
    }
    const auto next = free_.find(run.end());
    if (next != free_.end()) {
        run.count += next->second;
        forget_free(next->first);
    }
    if (run.end() == end_)
        end_ = run.first;
    else
        note_free(run.first, run.count);
}

std::optional<ClusterRun> Allocator::cut_free(ClusterNumber first, std::uint64_t count) {
    const std::uint64_t all = free_.at(first);
    forget_free(first);
    if (all > count) note_free(first + ClusterNumber{count}, all - count);
    return ClusterRun{first, count};
}

std::optional<ClusterRun> Allocator::append(std::uint64_t count) {
    std::uint64_t most = offset_limit / cluster_size_.count();
    if (const auto room = this->room()) most = std::min(most, *room / cluster_size_);
    if (end_.count() >= most || count > most - end_.count()) return std::nullopt;
    // The last table that can be had may be reached in the middle of a block.
    const std::uint64_t block = refcounts_.block_of(ClusterNumber{end_.count() + count - 1});
    if (block >= Refcounts::most_table_entries) return std::nullopt;
    const ClusterRun run{end_, count};
    end_ += ClusterNumber{count};
    return run;
}

ClusterNumber Allocator::take() {
    if (current_.count == 0) {
        if (!long_.empty()) {
            current_ = *cut_free(*long_.begin(), free_.at(*long_.begin()));
        } else if (const auto appended = append(1)) {
            current_ = *appended;
        } else if (!free_.empty()) {
            current_ = *cut_free(free_.begin()->first, free_.begin()->second);
        } else {
            no_space(1);
        }
    }
    const ClusterNumber cluster = current_.first;
    current_ = {cluster + ClusterNumber{1}, current_.count - 1};
    remember_taken({cluster, 1});
    return cluster;
}

ClusterRun Allocator::take_run(std::uint64_t count) {
    const auto fits = std::ranges::find_if(free_, [&](const auto& run) { return run.second >= count; });
    const auto run = fits != free_.end() ? cut_free(fits->first, count) : append(count);
    if (!run) no_space(count);
    remember_taken(*run);
    return *run;
}

std::optional<Bytes> Allocator::room() const {
    return device_.fixed_size() ? device_.size() : device_.held_length();
}

void Allocator::no_space(std::uint64_t clusters) const {
    const Bytes end = cluster_size_ * end_.count();
    const Bytes room = this->room().value_or(0_B);
    throw NoSpace{device_.name(), cluster_size_ * clusters, room > end ? room - end : 0_B};
}

void Allocator::remember_taken(ClusterRun run) {
    counted_ = false;
    if (taken_.size() > for_caller_ && taken_.back().end() == run.first)
        taken_.back().count += run.count;
    else
        taken_.push_back(run);
}

void Allocator::plan_blocks() {
    // A new block may itself lie where no block is yet; each covers many clusters, so this ends after a few rounds.
    for (bool complete = false; !complete;) {
        std::set<std::uint64_t> missing;
        for (const ClusterRun& run : taken_) {
            const std::uint64_t last = refcounts_.block_of(run.end() - ClusterNumber{1});
            for (std::uint64_t block = refcounts_.block_of(run.first); block <= last; ++block)
                if (!refcounts_.has_block(block) && !blocks_.contains(block)) missing.insert(block);
        }
        for (const std::uint64_t block : missing)
            blocks_.emplace(block, take());
        complete = missing.empty();
    }
}

void Allocator::reserve() {
    for_caller_ = taken_.size();
    plan_blocks();
    while (!blocks_.empty()) {
        const std::uint64_t needed = blocks_.rbegin()->first + 1;
        const std::uint64_t per_cluster = cluster_size_.count() / 8;
        const std::uint64_t planned = table_ ? table_->count * per_cluster : refcounts_.table_entries();
        if (needed <= std::min(planned, Refcounts::most_table_entries)) return;
        // Room for half as much again, so that the table moves seldom, and certainly for counting itself.
        const std::uint64_t wanted = std::min(needed + needed / 2 + 8, Refcounts::most_table_entries);
        if (needed > wanted) no_space(1);
        table_ = take_run(units_needed(Bytes{wanted * 8}, cluster_size_));
        plan_blocks();
    }
}

void Allocator::count_taken() {
    for (const auto& [block, place] : blocks_)
        refcounts_.add_block(block, place);
    for (const ClusterRun& run : taken_)
        for (ClusterNumber cluster = run.first; cluster < run.end(); cluster += ClusterNumber{1})
            refcounts_.set(cluster, 1);
    counted_ = true;
}

void Allocator::commit() {
    // Counts first, then the entries of new blocks, then, where the table moves, the header: whatever is reachable from
    // the header is complete.
    if (table_) refcounts_.extend_table(table_->count * cluster_size_.count() / 8);
    count_taken();
    refcounts_.write_counts();
    if (table_) {
        switch_table(*table_);
    } else if (refcounts_.has_new_blocks()) {
        device_.flush();
        refcounts_.write_entries();
    }
    blocks_.clear();
    table_.reset();
    // New blocks and tables are in use already.
    taken_.resize(for_caller_);
}

void Allocator::switch_table(ClusterRun place) {
    refcounts_.write_table(place);
    device_.flush();
    SectorEdit edit{device_};
    edit.put64(48, (cluster_size_ * place.first.count()).count());
    edit.put32(56, static_cast<std::uint32_t>(place.count));
    edit.write();
    device_.flush();
    const ClusterRun former = refcounts_.table_place();
    header_.refcount_table_offset = cluster_size_ * place.first.count();
    header_.refcount_table_clusters = static_cast<std::uint32_t>(place.count);
    refcounts_.table_moved(place);
    for (ClusterNumber cluster = former.first; cluster < former.end(); cluster += ClusterNumber{1})
        release(cluster);
}

void Allocator::abandon() {
    // Later ones first, so that what was appended falls back behind the end.
    for (auto run = taken_.rbegin(); run != taken_.rend(); ++run) {
        if (counted_)
            for (ClusterNumber cluster = run->first; cluster < run->end(); cluster += ClusterNumber{1})
                refcounts_.set(cluster, 0);
        add_free(*run);
    }
    settle();
    blocks_.clear();
    table_.reset();
}

void Allocator::settle() {
    taken_.clear();
    for_caller_ = 0;
}

void Allocator::retire(ClusterNumber cluster) {
    const std::uint64_t count = refcounts_.get(cluster);
    if (count == 0)
        throw CorruptImage{device_.name(), cluster_size_ * cluster.count(), "a count for every cluster in use"};
    refcounts_.set(cluster, count - 1);
}

void Allocator::retire_all(ClusterNumber cluster) {
    refcounts_.set(cluster, 0);
}

void Allocator::release(ClusterNumber cluster) {
    retire(cluster);
    if (refcounts_.get(cluster) == 0) add_free({cluster, 1});
}

ClusterNumber Allocator::end() {
    if (current_.count > 0) add_free(std::exchange(current_, {}));
    return end_;
}

void Allocator::cover_end() {
    const Bytes end = cluster_size_ * end_.count();
    if (!device_.fixed_size() && device_.size() < end) device_.set_size(end);
}

} // namespace coppice::qcow2
