// Hands out host clusters of a QCOW2 image and takes them back, in an order that a crash at any point survives.
//
// take() and reserve() touch memory only, so that an operation that does not fit fails before anything has changed.
// commit() counts everything taken; a flush has to follow before anything on disk refers to it. What is released must
// no longer be referred to on disk; its smaller count reaches the disk with the next commit(), and until then a crash
// leaves it as a leak. A cluster that was handed out holds arbitrary old bytes.
#pragma once

#include "format/qcow2/refcounts.h"

#include <map>
#include <optional>
#include <set>
#include <vector>

namespace coppice::qcow2 {

class Allocator {
public:
    /// All references outlive it. `header` is the one in force; commit() changes the place of the refcount table in it
    /// and on disk. Reads all counts.
    Allocator(BlockDevice& device, Header& header, Refcounts& refcounts);

    /// Throws NoSpace where the device, its held length, the refcount table or the format's offsets end.
    ClusterNumber take();
    ClusterRun take_run(std::uint64_t count);

    /// Takes the clusters that counting needs by itself: refcount blocks, a longer refcount table. Throws NoSpace, and
    /// then nothing has changed. Call it right before commit().
    void reserve();
    /// Writes the counts of everything taken and what release() changed. Flushes in between where that is needed, not
    /// at the end: clusters that nothing refers to may be counted and filled in any order. An exception leaves the
    /// image valid and this object unusable.
    void commit();
    bool has_taken() const { return !taken_.empty(); }
    /// What was taken is in use now.
    void settle();
    /// What was taken is not going to be used, whether it has been counted or not.
    void abandon();

    /// One reference less. Throws CorruptImage where there was none.
    void release(ClusterNumber cluster);
    /// The same, where somebody who has opened the image before may still read what stands there: as long as this lives
    /// the cluster is not used for anything else.
    void retire(ClusterNumber cluster);
    /// The same, and no reference is left: for a cluster whose count was too high.
    void retire_all(ClusterNumber cluster);

    /// Behind the last cluster in use, or retired.
    ClusterNumber end();
    /// The device reaches at least to the end of everything handed out, so that no reference leads out of the file.
    void cover_end();
    /// Free stretches below the end.
    const std::map<ClusterNumber, std::uint64_t>& free() const { return free_; }

private:
    std::optional<ClusterRun> append(std::uint64_t count);
    std::optional<ClusterRun> cut_free(ClusterNumber first, std::uint64_t count);
    void remember_taken(ClusterRun run);
    void plan_blocks();
    void count_taken();
    void switch_table(ClusterRun place);
    void add_free(ClusterRun run);
    void note_free(ClusterNumber first, std::uint64_t count);
    void forget_free(ClusterNumber first);
    void scan_free();
    std::optional<Bytes> room() const; ///< where it has to end
    [[noreturn]] void no_space(std::uint64_t clusters) const;

    BlockDevice& device_;
    Header& header_;
    Refcounts& refcounts_;
    Bytes cluster_size_;
    std::uint64_t long_run_;                      ///< clusters of a free stretch that is worth going back for
    ClusterNumber end_;                           ///< behind everything in use or taken
    std::map<ClusterNumber, std::uint64_t> free_; ///< stretches below end_; not all of them, if there are very many
    std::set<ClusterNumber> long_;                ///< those of long_run_ and more
    ClusterRun current_;                          ///< what take() hands out next; not in free_
    std::vector<ClusterRun> taken_;
    std::size_t for_caller_ = 0;                    ///< runs at the front of taken_ that commit() does not use itself
    bool counted_ = false;                          ///< everything in taken_ has been counted
    std::map<std::uint64_t, ClusterNumber> blocks_; ///< planned new refcount blocks
    std::optional<ClusterRun> table_;               ///< planned place of a longer refcount table
};

} // namespace coppice::qcow2
