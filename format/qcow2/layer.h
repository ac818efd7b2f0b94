// One QCOW2 file without any policy: its header, and its L1 and L2 tables as they stand on disk, in host byte order.
//
// Tables are read when they are asked for. The L1 table stays in memory (at most 32 MiB); of the L2 tables only a few
// do, whatever the size of the disk. Nothing is written. After somebody wrote to the file, forget() what was read. Used
// by one thread at a time.
#pragma once

#include "format/qcow2/header.h"

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

namespace coppice::qcow2 {

class Layer {
public:
    /// Reads the header. Throws as read_header() does. `device` must outlive this.
    explicit Layer(const BlockDevice& device);

    const BlockDevice& device() const { return device_; }
    const Header& header() const { return header_; }
    /// The end of the file rounded up to a cluster: no host offset reaches behind it.
    Bytes limit() const { return limit_; }

    /// All header().l1_size entries.
    std::span<const std::uint64_t> l1_table() const;
    /// Where the L2 table of L1 entry `index` stands, nullopt when there is none. Throws CorruptImage for an entry with
    /// reserved bits, or with an offset that is not aligned or leads into the header or out of the file.
    std::optional<Bytes> l2_table_offset(std::uint64_t index) const;
    /// The table at `offset` as 64-bit words: one per entry, with extended L2 two. Valid until the next call.
    std::span<const std::uint64_t> l2_table(Bytes offset) const;
    /// Words of any table (refcount table, L1, L2) without caching; what lies behind the end of the file reads as
    /// zeros.
    std::vector<std::uint64_t> read_words(Bytes offset, std::uint64_t count) const;

    /// Drops the tables read so far.
    void forget();

private:
    struct CachedTable {
        Bytes offset;
        std::vector<std::uint64_t> words;
    };

    const BlockDevice& device_;
    Header header_;
    Bytes limit_;
    std::size_t most_cached_;
    mutable std::optional<std::vector<std::uint64_t>> l1_;
    mutable std::list<CachedTable> l2_; ///< most recently used first
};

} // namespace coppice::qcow2
