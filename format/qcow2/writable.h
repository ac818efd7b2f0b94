// Everything about an image that changes while it is written to: header, L1 table, counts, free space.
//
// The L1 table stays in memory (at most 32 MiB). Used by one thread at a time.
#pragma once

#include "format/qcow2/allocator.h"
#include "format/qcow2/l2_entry.h"

#include <cstdint>
#include <vector>

namespace coppice::qcow2 {

struct Writable {
    /// Reads the L1 table and all counts.
    Writable(BlockDevice& image, Header read_header);
    Writable(const Writable&) = delete;
    Writable& operator=(const Writable&) = delete;

    BlockDevice& device;
    Header header;
    std::vector<std::uint64_t> l1;
    Refcounts refcounts;
    Allocator allocator;
    /// Memory and disk may differ, because a write failed in the middle: the image on disk is valid, this object is
    /// not.
    bool in_doubt = false;

    /// Throws Error when in doubt.
    void expect_usable() const;
    L2Rules rules() const { return L2Rules::of(header, round_up(device.size(), header.cluster_size())); }
    /// The L2 table that L1 entry `index` points at, 0 for none. Throws CorruptImage for an impossible entry.
    Bytes l2_table(std::uint64_t index) const;
    Bytes offset_of(ClusterNumber cluster) const { return header.cluster_size() * cluster.count(); }
    ClusterNumber cluster_at(Bytes offset) const { return ClusterNumber{offset / header.cluster_size()}; }
    /// The sectors of the L1 table on disk that hold these entries, ascending. Not flushed.
    void write_l1(const std::vector<std::uint64_t>& indices);
};

/// 64-bit words as they stand on disk; what lies behind the end of the file reads as zeros.
std::vector<std::uint64_t> read_words(const BlockDevice& device, Bytes offset, std::uint64_t count);
void write_words(BlockDevice& device, Bytes offset, std::span<const std::uint64_t> words);

} // namespace coppice::qcow2
