// Moves stretches of bytes into a device, from another device or from memory, in the cheapest way the storage offers.
//
// Order of preference: share, then read and write, many requests at once where the kernel can. Zeroes are never written
// out as data where holes are possible. Nothing is durable until the caller flushes the target.
#pragma once

#include "format/base/block_device.h"
#include "format/base/engine.h"
#include "format/base/flight_seat.h"

#include <memory>
#include <span>
#include <stop_token>

namespace coppice {

/// One stretch of bytes that shall stand at `target_offset`.
struct Transfer {
    enum class Source {
        device,
        memory,
        metadata, ///< memory that is no guest's data, and does not count as moved
        zeros,
        filler, ///< reads as zeros already and is nobody's, so that it may be written along with what stands around it
    };

    Source source;
    const BlockDevice* device = nullptr; ///< Source::device; what lies behind its end counts as zeros
    Bytes device_offset;
    std::span<const std::byte> memory; ///< Source::memory, metadata; exactly `length` bytes
    Bytes target_offset;
    Bytes length;

    static Transfer from_device(const BlockDevice& device, Bytes device_offset, Bytes target_offset, Bytes length) {
        return {Source::device, &device, device_offset, {}, target_offset, length};
    }
    static Transfer from_memory(std::span<const std::byte> memory, Bytes target_offset) {
        return {Source::memory, nullptr, 0_B, memory, target_offset, Bytes{memory.size()}};
    }
    static Transfer from_metadata(std::span<const std::byte> memory, Bytes target_offset) {
        return {Source::metadata, nullptr, 0_B, memory, target_offset, Bytes{memory.size()}};
    }
    static Transfer zeros(Bytes target_offset, Bytes length) {
        return {Source::zeros, nullptr, 0_B, {}, target_offset, length};
    }
    static Transfer filler(Bytes target_offset, Bytes length) {
        return {Source::filler, nullptr, 0_B, {}, target_offset, length};
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

    /// Transfers of one call do not overlap in the target, and no source overlaps a target. When it throws (what the
    /// devices throw, StopRequested), any part of them may have been moved, and nothing is in flight any more.
    virtual void move(BlockDevice& target, std::span<const Transfer> transfers) = 0;
    /// All since construction.
    virtual MovedBytes moved() const = 0;
};

/// Shares where that is allowed and possible, and copies the rest through buffers of bounded size: 32 MiB at most.
class BufferedMover final : public DataMover {
public:
    enum class Sharing { never, where_possible };
    /// Copies one buffer after the other.
    explicit BufferedMover(Sharing sharing, Bytes buffer_size = 4_MiB);
    /// `stop` is looked at between two buffers. Throws Unsupported where the kernel does not offer what was asked for.
    explicit BufferedMover(Engine engine, std::stop_token stop = {});
    ~BufferedMover() override;

    void move(BlockDevice& target, std::span<const Transfer> transfers) override;
    MovedBytes moved() const override { return moved_; }

private:
    BufferedMover(Sharing sharing, std::unique_ptr<IoQueue> queue, Bytes buffer_size, std::stop_token stop);

    bool share(Flight& flight, BlockDevice& target, const Transfer& transfer);
    void copy(Flight& flight, const Transfer& transfer);

    Sharing sharing_;
    std::unique_ptr<IoQueue> queue_;
    std::vector<FlightSeat> seats_;
    std::stop_token stop_;
    std::vector<std::pair<const BlockDevice*, const BlockDevice*>> unshareable_; ///< source and target
    MovedBytes moved_;
};

} // namespace coppice
