// What Allocator will do, on numbers alone: which clusters it takes and where that makes the image end.
//
// It is exact as long as nothing is given back and the refcount table stays where it is. What is given back could only
// lower the end. Where the table has to move, how often it does so depends on how the merge is cut into rounds; all
// the places that it could have are counted then.
#pragma once

#include "format/qcow2/refcounts.h"

#include <map>
#include <set>
#include <vector>

namespace coppice::qcow2 {

/// Which host clusters of an image are in use, as its counts tell once who writes to it has given leaks back.
struct HostMap {
    Bytes cluster_size;
    unsigned refcount_order = 4;
    ClusterNumber end;                           ///< behind the last cluster in use
    std::map<ClusterNumber, std::uint64_t> free; ///< stretches below it, as many as Allocator remembers
    std::vector<bool> blocks;                    ///< by entry of the refcount table: there is a block
    ClusterNumber counted_end{};                 ///< the same as the counts are, leaks included
    std::uint64_t leaked = 0;                    ///< clusters that are counted and not in use

    std::uint64_t per_block() const { return (cluster_size.count() * 8) >> refcount_order; }
    std::uint64_t table_entries() const { return blocks.size(); }
};

class AllocationModel {
public:
    explicit AllocationModel(const HostMap& host);

    void take(std::uint64_t clusters);
    void take_run(std::uint64_t clusters);
    /// Takes what counting everything taken so far needs. Throws NoSpace beyond the largest refcount table.
    void count();
    ClusterNumber end() const { return highest_; }

private:
    void remember(ClusterRun run);
    void append(std::uint64_t clusters);
    void note_free(ClusterNumber first, std::uint64_t count);
    void forget_free(ClusterNumber first);
    ClusterRun cut_free(ClusterNumber first, std::uint64_t count);
    void count_blocks();

    Bytes cluster_size_;
    std::uint64_t per_block_;
    std::uint64_t long_run_;
    ClusterNumber end_;
    ClusterNumber highest_; ///< end_, or where it once was
    std::map<ClusterNumber, std::uint64_t> free_;
    std::set<ClusterNumber> long_;
    ClusterRun current_;
    std::vector<ClusterRun> uncounted_;
    std::vector<bool> blocks_;
    std::uint64_t blocks_needed_ = 0; ///< entries that the table must have
    std::uint64_t table_entries_;     ///< that it has
    std::uint64_t moves_counted_ = 0; ///< clusters taken for other places of the table
};

/// Clusters that a refcount table of `entries` takes in all the places to which it moves until it has `needed`, at
/// most. 0 where it need not move.
std::uint64_t table_moves(std::uint64_t entries, std::uint64_t needed, Bytes cluster_size);

} // namespace coppice::qcow2
