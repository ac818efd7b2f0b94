#include "format/base/data_mover.h"

#include "format/base/flight.h"
#include "format/base/io_queue.h"

#include <algorithm>

namespace coppice {
namespace {

// Shorter stretches are read without asking whether they are holes: to ask costs as much.
constexpr Bytes worth_asking = 64_KiB;
// Sharing less costs more than copying it, and tears the file into small extents.
constexpr Bytes worth_sharing = 64_KiB;
// File systems share whole blocks; those with larger ones refuse, and then nothing is shared.
constexpr Bytes share_grain = 4_KiB;

/// What continues the transfer before it becomes one with it.
std::vector<Transfer> in_order(std::span<const Transfer> transfers) {
    std::vector<Transfer> order{transfers.begin(), transfers.end()};
    if (!std::ranges::is_sorted(order, {}, &Transfer::target_offset))
        std::ranges::sort(order, {}, &Transfer::target_offset);
    std::size_t kept = 0;
    for (const Transfer& next : order) {
        Transfer* const last = kept > 0 ? &order[kept - 1] : nullptr;
        if (last != nullptr && last->source == Transfer::Source::device && next.source == last->source &&
            next.device == last->device && last->device_offset + last->length == next.device_offset &&
            last->target_offset + last->length == next.target_offset)
            last->length += next.length;
        else
            order[kept++] = next;
    }
    order.erase(order.begin() + static_cast<std::ptrdiff_t>(kept), order.end());
    return order;
}

} // namespace

BufferedMover::BufferedMover(Sharing sharing, std::unique_ptr<IoQueue> queue, Bytes buffer_size, std::stop_token stop)
    : sharing_{sharing}, queue_{std::move(queue)}, stop_{std::move(stop)} {
    seats_.reserve(queue_->depth());
    while (seats_.size() < queue_->depth())
        seats_.emplace_back(buffer_size);
}

BufferedMover::BufferedMover(Sharing sharing, Bytes buffer_size)
    : BufferedMover{sharing, open_queue(Engine::plain), buffer_size, {}} {}

BufferedMover::BufferedMover(Engine engine, std::stop_token stop)
    : BufferedMover{engine == Engine::automatic || engine == Engine::share ? Sharing::where_possible : Sharing::never,
                    open_queue(engine), 4_MiB, std::move(stop)} {}

BufferedMover::~BufferedMover() = default;

void BufferedMover::move(BlockDevice& target, std::span<const Transfer> transfers) {
    Flight flight{target, *queue_, seats_, stop_};
    for (const Transfer& transfer : in_order(transfers)) {
        switch (transfer.source) {
        case Transfer::Source::zeros:
            flight.add_zeros(transfer.target_offset, transfer.length);
            break;
        case Transfer::Source::filler:
            flight.add_filler(transfer.target_offset, transfer.length);
            break;
        case Transfer::Source::memory:
            flight.add_memory(transfer.memory, transfer.target_offset);
            moved_.copied += transfer.length;
            break;
        case Transfer::Source::metadata:
            flight.add_memory(transfer.memory, transfer.target_offset);
            break;
        case Transfer::Source::device:
            if (!share(flight, target, transfer)) copy(flight, transfer);
            break;
        }
    }
    flight.finish();
}

bool BufferedMover::share(Flight& flight, BlockDevice& target, const Transfer& transfer) {
    if (sharing_ == Sharing::never) return false;
    // What the two have in common: the same place within a block, inside the source.
    const Bytes source = transfer.device_offset;
    if (source % share_grain != transfer.target_offset % share_grain) return false;
    const Bytes begin = round_up(source, share_grain);
    const Bytes end = round_down(std::min(source + transfer.length, transfer.device->size()), share_grain);
    if (end < begin + worth_sharing) return false;
    const std::pair<const BlockDevice*, const BlockDevice*> both{transfer.device, &target};
    if (std::ranges::find(unshareable_, both) != unshareable_.end()) return false;

    const auto at = [&](Bytes offset) { return transfer.target_offset + (offset - source); };
    if (!target.share(*transfer.device, begin, {at(begin), at(end)})) {
        unshareable_.push_back(both);
        return false;
    }
    moved_.shared += end - begin;
    if (begin > source)
        copy(flight, Transfer::from_device(*transfer.device, source, transfer.target_offset, begin - source));
    if (end < source + transfer.length)
        copy(flight, Transfer::from_device(*transfer.device, end, at(end), source + transfer.length - end));
    return true;
}

void BufferedMover::copy(Flight& flight, const Transfer& transfer) {
    const BlockDevice& source = *transfer.device;
    for (Bytes done; done < transfer.length;) {
        const Bytes from = transfer.device_offset + done;
        const Bytes left = transfer.length - done;
        std::optional<ByteRange> data;
        if (left >= worth_asking)
            data = source.next_data(from);
        else if (from < source.size())
            data = ByteRange{from, source.size()};
        // Holes of the source need not be read to be known as zeros.
        const Bytes hole = data ? std::min(left, std::max(data->begin, from) - from) : left;
        if (hole > 0_B) {
            flight.add_zeros(transfer.target_offset + done, hole);
            done += hole;
            continue;
        }
        const Bytes length = std::min(left, data->end - from);
        flight.add_read(source, from, transfer.target_offset + done, length);
        moved_.copied += length;
        done += length;
    }
}

} // namespace coppice
