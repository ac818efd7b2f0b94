// What fits into one buffer on its way from devices and memory into a target: as few and as large requests as possible.
//
// Filled first (add_*), then read, then written; used again after clear(). Parts stand in the buffer as they stand in
// the target, so that neighbours there are written in one request whatever places they come from.
#pragma once

#include "format/base/io_queue.h"

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace coppice {

class Load {
public:
    explicit Load(Bytes size);

    bool empty() const { return parts_.empty(); }
    /// How much more can be added: 0 where the buffer is full, or the parts are too many.
    Bytes room() const;
    /// Targets are added in ascending order. `length` is at most room(). The stretch is in the device.
    void add_read(const BlockDevice& source, Bytes source_offset, Bytes target, Bytes length);
    void add_memory(std::span<const std::byte> memory, Bytes target);
    void add_zeros(Bytes target, Bytes length);
    /// Reads as zeros already and may be written over with such: it joins what stands before and behind it.
    void add_filler(Bytes target, Bytes length);

    /// Requests that fill the buffer. Near neighbours in a source are one of them, gaps included.
    std::vector<IoJob> reads();
    /// Requests that bring it into `target`, and the places there that have to become zero. Where holes can be made,
    /// zeros are not written out.
    struct Writes {
        std::vector<IoJob> data;
        std::vector<ByteRange> zeros;
    };
    Writes writes(BlockDevice& target);
    /// From the first target to the last; nullopt of an empty load.
    std::optional<ByteRange> targets() const;
    void clear();

private:
    enum class Kind { read, memory, zeros, filler };
    struct Part {
        Kind kind;
        std::size_t begin; ///< in the buffer
        std::size_t length;
        Bytes target;
        const BlockDevice* source = nullptr;
        Bytes source_offset;

        Bytes target_end() const { return target + Bytes{length}; }
    };

    std::byte* data() const { return buffer_.get(); }
    Part& add(Kind kind, Bytes target, Bytes length);
    void add_run(Writes& writes, BlockDevice& target, std::span<const Part> run) const;
    void add_data(Writes& writes, BlockDevice& target, const Part& first, std::size_t begin, std::size_t end) const;

    struct Free {
        void operator()(std::byte* memory) const;
    };
    Bytes size_;
    std::unique_ptr<std::byte[], Free> buffer_; ///< when first needed
    std::size_t used_ = 0;
    std::vector<Part> parts_;
    std::deque<std::vector<std::byte>> skipped_; ///< receive the gaps
};

/// Whether every byte is zero.
bool all_zero(std::span<const std::byte> bytes);

} // namespace coppice
