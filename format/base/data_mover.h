// Moves stretches of bytes into a device, from another device or from memory, in the cheapest way the storage offers.
//
// Order of preference: share, let the kernel copy, read and write. Zeroes are never written out as data. Nothing is
// durable until the caller flushes the target.
#pragma once

#include "format/base/block_device.h"

#include <span>

namespace coppice {

/// One stretch of bytes that shall stand at `target_offset`.
struct Transfer {
    enum class Source { device, memory, zeros };

    Source source;
    const BlockDevice* device = nullptr; ///< Source::device; what lies behind its end counts as zeros
    Bytes device_offset;
    std::span<const std::byte> memory; ///< Source::memory; exactly `length` bytes
    Bytes target_offset;
    Bytes length;

    static Transfer from_device(const BlockDevice& device, Bytes device_offset, Bytes target_offset, Bytes length) {
        return {Source::device, &device, device_offset, {}, target_offset, length};
    }
    static Transfer from_memory(std::span<const std::byte> memory, Bytes target_offset) {
        return {Source::memory, nullptr, 0_B, memory, target_offset, Bytes{memory.size()}};
    }
    static Transfer zeros(Bytes target_offset, Bytes length) {
        return {Source::zeros, nullptr, 0_B, {}, target_offset, length};
    }
};

struct MovedBytes {
    Bytes shared;
    Bytes copied; ///< read and written, or written from memory
};

class DataMover {
public:
    virtual ~DataMover() = default;
    DataMover() = default;
    DataMover(const DataMover&) = delete;
    DataMover& operator=(const DataMover&) = delete;

    /// Transfers of one call do not overlap in the target, and no source overlaps a target.
    virtual void move(BlockDevice& target, std::span<const Transfer> transfers) = 0;
    /// All since construction.
    virtual MovedBytes moved() const = 0;
};

/// Reads and writes through a buffer of bounded size; shares where `allow_sharing` and the storage permit.
class BufferedMover final : public DataMover {
public:
    enum class Sharing { never, where_possible };
    explicit BufferedMover(Sharing sharing, Bytes buffer_size = 4_MiB);

    void move(BlockDevice& target, std::span<const Transfer> transfers) override;
    MovedBytes moved() const override { return moved_; }

private:
    void move_from_device(BlockDevice& target, const Transfer& transfer);
    bool share(BlockDevice& target, const Transfer& transfer);
    void write_sparse(BlockDevice& target, Bytes offset, std::span<const std::byte> bytes);

    Sharing sharing_;
    std::vector<std::byte> buffer_;
    MovedBytes moved_;
};

/// Whether every byte is zero.
bool all_zero(std::span<const std::byte> bytes);

} // namespace coppice
