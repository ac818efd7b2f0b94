#include "format/vhd/block_batch.h"

#include "format/base/error.h"
#include "format/vhd/sector_bitmap.h"

#include <algorithm>
#include <iterator>

namespace coppice::vhd {
namespace {

// Between two short stretches of data a hole costs two requests instead of one. What is written in vain instead stays
// within twice what has to be, and never is what a longer hole would save.
constexpr Bytes longest_filler = 16_KiB;
// Nothing of this length becomes a hole.
constexpr Bytes always_filled = 4_KiB;

} // namespace

BlockBatch::BlockBatch(WritableDisk& disk, std::span<const GuestWrite> writes, const ZerosNeeded& zeros_needed)
    : disk_{disk} {
    split(writes);
    read_bitmaps();
    decide(zeros_needed);
    place_fresh_blocks();
    for (const auto& [block, update] : updates_) {
        if (update.fresh) transfers_.push_back(Transfer::from_metadata(update.bits, update.place));
        for (const Piece& piece : update.pieces)
            add_transfer(update, piece);
    }
}

std::uint64_t BlockBatch::sector_in_block(Bytes guest) const {
    return guest % disk_.layout().block_size / sector_size;
}

Bytes BlockBatch::host_of(const Update& update, Bytes guest) const {
    return update.place + disk_.layout().bitmap_size + guest % disk_.layout().block_size;
}

void BlockBatch::split(std::span<const GuestWrite> writes) {
    const Layout& layout = disk_.layout();
    for (const GuestWrite& write : writes) {
        if (!is_aligned(write.guest.begin, sector_size) || !is_aligned(write.guest.end, sector_size))
            throw std::logic_error{"writes are whole sectors"};
        for (Bytes at = write.guest.begin; at < write.guest.end;) {
            const std::uint64_t block = at / layout.block_size;
            if (block >= disk_.bat().size()) throw std::logic_error{"write behind the end of the disk"};
            const Bytes end = std::min(write.guest.end, layout.block_size * (block + 1));
            updates_[block].pieces.push_back({{at, end}, &write});
            at = end;
        }
    }
}

void BlockBatch::read_bitmaps() {
    const Layout& layout = disk_.layout();
    std::vector<ReadRequest> requests;
    for (auto& [block, update] : updates_) {
        update.fresh = !disk_.bat().allocated(block);
        update.bits_before.resize(layout.bitmap_size.count());
        if (update.fresh) continue;
        update.place = to_bytes(Sectors{disk_.bat()[block]});
        requests.push_back({update.place, update.bits_before});
    }
    disk_.device().read(requests);
}

void BlockBatch::decide(const ZerosNeeded& zeros_needed) {
    for (auto& [block, update] : updates_) {
        update.bits = update.bits_before;
        const std::vector<Piece> pieces = std::move(update.pieces);
        update.pieces.clear();
        for (const Piece& piece : pieces) {
            if (piece.write->source == GuestWrite::Source::zeros) {
                decide_zeros(block, update, piece, zeros_needed);
                continue;
            }
            set_bits(update.bits, sector_in_block(piece.guest.begin),
                     sector_in_block(piece.guest.begin) + piece.guest.length() / sector_size);
            update.pieces.push_back(piece);
        }
    }
    std::erase_if(updates_, [](const auto& entry) { return entry.second.pieces.empty(); });
}

void BlockBatch::decide_zeros(std::uint64_t block, Update& update, const Piece& piece,
                              const ZerosNeeded& zeros_needed) {
    const std::uint64_t begin = sector_in_block(piece.guest.begin);
    const std::uint64_t end = begin + piece.guest.length() / sector_size;
    if (zeros_needed(piece.guest)) {
        set_bits(update.bits, begin, end);
        update.pieces.push_back(piece);
        return;
    }
    // Nothing shows through, so that only what this disk maps itself has to become zero.
    const Bytes block_begin = disk_.layout().block_size * block;
    for_each_run(update.bits_before, begin, end, true, [&](std::uint64_t from, std::uint64_t to) {
        update.pieces.push_back(
            {{block_begin + to_bytes(Sectors{from}), block_begin + to_bytes(Sectors{to})}, piece.write});
    });
}

void BlockBatch::place_fresh_blocks() {
    Bytes end = disk_.data_end();
    fresh_begin_ = end;
    for (auto& [block, update] : updates_) {
        if (!update.fresh) continue;
        update.place = disk_.place_behind(end);
        end = update.place + disk_.layout().block_span();
    }
    fresh_end_ = end;
}

void BlockBatch::add_transfer(const Update& update, const Piece& piece) {
    const Bytes host = host_of(update, piece.guest.begin);
    const Bytes length = piece.guest.length();
    const Bytes skipped = piece.guest.begin - piece.write->guest.begin;
    switch (piece.write->source) {
    case GuestWrite::Source::device:
        transfers_.push_back(
            Transfer::from_device(*piece.write->device, piece.write->device_offset + skipped, host, length));
        break;
    case GuestWrite::Source::memory:
        transfers_.push_back(Transfer::from_memory(piece.write->memory.subspan(skipped.count(), length.count()), host));
        break;
    case GuestWrite::Source::zeros:
        if (update.fresh) return; // everything that is not written in a new block becomes zero
        transfers_.push_back(Transfer::zeros(host, length));
        break;
    }
}

/// What stands between the transfers into new blocks becomes zero. `former_size` is that of the device.
void BlockBatch::fill_gaps(Bytes former_size) {
    // What a file has gained since is a hole.
    const Bytes stale_end = disk_.device().fixed_size() ? fresh_end_ : std::min(fresh_end_, former_size);
    std::vector<Transfer> fresh;
    std::ranges::copy_if(transfers_, std::back_inserter(fresh),
                         [&](const Transfer& transfer) { return transfer.target_offset >= fresh_begin_; });
    std::ranges::sort(fresh, {}, &Transfer::target_offset);
    Bytes at = fresh_begin_;
    Bytes run; // data in one piece before the gap
    const auto fill = [&](Bytes end) {
        if (at < std::min(end, stale_end)) {
            transfers_.push_back(Transfer::zeros(at, std::min(end, stale_end) - at));
            at = std::min(end, stale_end);
        }
        const Bytes gap = end - at;
        if (gap == 0_B) return;
        if (gap <= std::max(always_filled, std::min(longest_filler, 2 * run)))
            transfers_.push_back(Transfer::filler(at, gap));
        run = 0_B;
    };
    for (const Transfer& transfer : fresh) {
        fill(transfer.target_offset);
        run += transfer.length;
        at = transfer.target_offset + transfer.length;
    }
    fill(std::max(at, stale_end));
}

void BlockBatch::carry_out(DataMover& mover) {
    if (updates_.empty()) return;
    BlockDevice& device = disk_.device();
    const Bytes former_size = device.size();
    if (fresh_begin_ < fresh_end_) {
        disk_.keep_footer_behind(fresh_end_);
        fill_gaps(former_size);
    }
    mover.move(device, transfers_);
    device.flush();

    std::vector<std::uint64_t> fresh;
    std::vector<WriteRequest> requests;
    std::vector<std::vector<std::byte>> storage;
    for (const auto& [block, update] : updates_) {
        if (update.bits != update.bits_before) disk_.note_changed(block);
        if (update.fresh) {
            disk_.bat().set(block, static_cast<std::uint32_t>(whole_sectors(update.place).count()));
            fresh.push_back(block);
            continue;
        }
        for (std::size_t at = 0; at < update.bits.size(); at += sector_size.count()) {
            const auto now = std::span{update.bits}.subspan(at, sector_size.count());
            if (!std::ranges::equal(now, std::span{update.bits_before}.subspan(at, sector_size.count())))
                requests.push_back({update.place + Bytes{at}, now});
        }
    }
    disk_.entry_writes(fresh, storage, requests);
    if (requests.empty()) return;
    device.write(requests);
    device.flush();
}

} // namespace coppice::vhd
