// The block allocation table in memory, and the order of the blocks in the file.
#pragma once

#include "format/base/block_device.h"
#include "format/vhd/layout.h"

#include <optional>
#include <set>
#include <span>
#include <vector>

namespace coppice::vhd {

class Bat {
public:
    /// Reads the entries of the disk's blocks, and what else stands in their sectors.
    static Bat read(const BlockDevice& device, const Layout& layout);

    /// Sector of the bitmap; `unallocated`. `block` is below size().
    std::uint32_t operator[](std::uint64_t block) const { return entries_[block]; }
    bool allocated(std::uint64_t block) const { return entries_[block] != unallocated; }
    void set(std::uint64_t block, std::uint32_t entry) { entries_[block] = entry; }
    /// Of the disk's blocks; the entries that fill up the last sector are not counted.
    std::uint64_t size() const { return size_; }
    std::uint64_t count_allocated() const;
    /// The first allocated block at or behind `block`.
    std::optional<std::uint64_t> next_allocated(std::uint64_t block) const;
    /// End of the last block in the file; nullopt without any.
    std::optional<Bytes> blocks_end(const Layout& layout) const;
    std::optional<Bytes> blocks_begin() const;

    /// The table's sector that holds this entry, as it must stand on disk: its place relative to the table, its bytes.
    std::uint64_t sector_of(std::uint64_t block) const { return block / entries_per_sector; }
    std::vector<std::byte> sector(std::uint64_t index) const;
    static constexpr std::uint64_t entries_per_sector = 128;

    /// Makes room for `entries` and counts the first `size` as the disk's; what is new is unallocated.
    void resize(std::uint64_t size, std::uint64_t entries);
    std::uint64_t entries() const { return entries_.size(); }

private:
    std::vector<std::uint32_t> entries_; ///< whole sectors of the table
    std::uint64_t size_ = 0;
};

/// What is wrong with the places of blocks.
struct BlockFault {
    enum class Kind { in_metadata, past_end, overlap } kind;
    std::uint64_t block;
    std::uint64_t other = 0; ///< overlap: the block that lies before it in the file
};

/// In the order of the file; at most `limit` faults. Blocks must lie in [metadata_end, data_limit) without overlap.
std::vector<BlockFault> find_block_faults(const Bat& bat, const Layout& layout, Bytes metadata_end, Bytes data_limit,
                                          std::size_t limit);
std::string describe(const BlockFault& fault);

} // namespace coppice::vhd
