#include "format/base/data_mover.h"

#include <algorithm>
#include <cstring>

namespace coppice {
namespace {

// The grain in which zeroes are looked for: smaller stretches cannot become holes on any file system in use.
constexpr Bytes hole_grain = 4_KiB;

} // namespace

bool all_zero(std::span<const std::byte> bytes) {
    if (bytes.empty()) return true;
    return bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

BufferedMover::BufferedMover(Sharing sharing, Bytes buffer_size) : sharing_{sharing}, buffer_(buffer_size.count()) {}

void BufferedMover::move(BlockDevice& target, std::span<const Transfer> transfers) {
    for (const Transfer& transfer : transfers) {
        switch (transfer.source) {
        case Transfer::Source::zeros:
            target.zero(ByteRange::at(transfer.target_offset, transfer.length));
            break;
        case Transfer::Source::memory:
            write_sparse(target, transfer.target_offset, transfer.memory);
            moved_.copied += transfer.length;
            break;
        case Transfer::Source::device:
            if (!share(target, transfer)) move_from_device(target, transfer);
            break;
        }
    }
}

bool BufferedMover::share(BlockDevice& target, const Transfer& transfer) {
    if (sharing_ == Sharing::never) return false;
    if (!target.share(*transfer.device, transfer.device_offset, ByteRange::at(transfer.target_offset, transfer.length)))
        return false;
    moved_.shared += transfer.length;
    return true;
}

void BufferedMover::move_from_device(BlockDevice& target, const Transfer& transfer) {
    for (Bytes done; done < transfer.length;) {
        const Bytes from = transfer.device_offset + done;
        const Bytes left = transfer.length - done;
        // Holes of the source need not be read to be known as zeros.
        const auto data = transfer.device->next_data(from);
        const Bytes hole = data ? (data->begin > from ? data->begin - from : 0_B) : left;
        if (hole > 0_B) {
            const Bytes length = std::min(hole, left);
            target.zero(ByteRange::at(transfer.target_offset + done, length));
            done += length;
            continue;
        }
        const Bytes length = std::min({left, Bytes{buffer_.size()}, data->end - from});
        const auto buffer = std::span{buffer_}.first(length.count());
        transfer.device->read_padded(from, buffer);
        write_sparse(target, transfer.target_offset + done, buffer);
        moved_.copied += length;
        done += length;
    }
}

void BufferedMover::write_sparse(BlockDevice& target, Bytes offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto grain_at = [&](std::size_t position) {
            // Grains are aligned in the target, where the holes are to be.
            const std::size_t misaligned = (offset + Bytes{position}).count() % hole_grain.count();
            return std::min<std::size_t>(hole_grain.count() - misaligned, bytes.size() - position);
        };
        std::size_t end = grain_at(0);
        const bool zero = all_zero(bytes.first(end));
        while (end < bytes.size()) {
            const std::size_t next = grain_at(end);
            if (all_zero(bytes.subspan(end, next)) != zero) break;
            end += next;
        }
        if (zero)
            target.zero(ByteRange::at(offset, Bytes{end}));
        else
            target.write_at(offset, bytes.first(end));
        offset += Bytes{end};
        bytes = bytes.subspan(end);
    }
}

} // namespace coppice
