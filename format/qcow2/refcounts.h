// The reference counts of an image for writing: how often each host cluster is used, kept in memory page by page.
//
// set() changes memory only; pages go to the device with write_counts(), or earlier when too many have changed: callers
// change a count only when it may reach the disk at any time from then on. Nothing here flushes. Memory: the refcount
// table (at most 8 MiB) and 8 MiB of pages. Used by one thread at a time.
#pragma once

#include "format/qcow2/header.h"

#include <cstdint>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace coppice::qcow2 {

/// Contiguous host clusters.
struct ClusterRun {
    ClusterNumber first;
    std::uint64_t count = 0;

    ClusterNumber end() const { return first + ClusterNumber{count}; }
    bool operator==(const ClusterRun&) const = default;
};

/// The value at `index` of a refcount block of width 1 << `order` bits.
/// Source: QEMU docs/interop/qcow2.txt: widths below 8 are packed from the least significant bit of each byte on.
std::uint64_t decode_refcount(std::span<const std::byte> block, std::uint64_t index, unsigned order);
/// `value` fits the width.
void encode_refcount(std::span<std::byte> block, std::uint64_t index, unsigned order, std::uint64_t value);

class Refcounts {
public:
    /// The largest table that QEMU's programs open.
    static constexpr std::uint64_t most_table_entries = (8_MiB).count() / 8;

    /// Reads the refcount table. Throws CorruptImage where it points at impossible places.
    Refcounts(BlockDevice& device, const Header& header);

    /// The largest count that the width can hold.
    std::uint64_t largest() const { return largest_; }
    std::uint64_t per_block() const { return per_block_; }
    std::uint64_t block_of(ClusterNumber cluster) const { return cluster.count() / per_block_; }
    std::uint64_t table_entries() const { return table_.size(); }
    ClusterRun table_place() const { return table_place_; }
    bool has_block(std::uint64_t block) const { return block < table_.size() && table_[block] != 0; }
    /// Behind the last cluster whose count is not 0.
    ClusterNumber end() const;

    std::uint64_t get(ClusterNumber cluster) const;
    /// The cluster's block exists, and `value` is at most largest().
    void set(ClusterNumber cluster, std::uint64_t value);
    void write_counts();

    /// A new block full of zeros at `place`, which nothing refers to yet. Its table entry stays in memory until
    /// write_entries() or write_table(); the table is long enough for it.
    void add_block(std::uint64_t block, ClusterNumber place);
    Bytes place_of_block(std::uint64_t block) const { return Bytes{table_[block]}; }
    /// Its clusters count as free from now on; on disk after write_entries().
    void drop_block(std::uint64_t block);
    bool has_new_blocks() const { return !new_entries_.empty(); }
    /// Entries of new blocks into the table on disk. What write_counts() wrote has been flushed before.
    void write_entries();

    /// Makes the table in memory longer; on disk the former one stays in force.
    void extend_table(std::uint64_t entries);
    /// The whole table, padded with zeros, to `place`.
    void write_table(ClusterRun place);
    /// The header names `place` from now on, durably.
    void table_moved(ClusterRun place);

private:
    struct Page {
        std::vector<std::byte> bytes;
        bool changed = false;
    };

    Bytes page_offset(std::uint64_t page) const;
    std::uint64_t page_of(ClusterNumber cluster) const { return cluster.count() / per_page_; }
    Page& page(std::uint64_t number) const;

    BlockDevice& device_;
    Bytes cluster_size_;
    unsigned order_;
    std::uint64_t largest_;
    std::uint64_t per_block_;
    Bytes page_size_;
    std::uint64_t per_page_;
    ClusterRun table_place_;
    std::vector<std::uint64_t> table_;
    std::set<std::uint64_t> new_entries_; ///< blocks whose entry in the table on disk is another one
    mutable std::unordered_map<std::uint64_t, Page> pages_;
};

} // namespace coppice::qcow2
