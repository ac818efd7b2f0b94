#include "format/vhd/block_batch.h"

#include "format/base/error.h"
#include "format/vhd/sector_bitmap.h"

#include <algorithm>

namespace coppice::vhd {

BlockBatch::BlockBatch(WritableDisk& disk, std::span<const GuestWrite> writes, const ZerosNeeded& zeros_needed)
    : disk_{disk} {
    split(writes);
    read_bitmaps();
    decide(zeros_needed);
    place_fresh_blocks();
    for (const auto& [block, update] : updates_)
        for (const Piece& piece : update.pieces)
            add_transfer(block, update, piece);
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
        written_.push_back(ByteRange::at(update.place, disk_.layout().bitmap_size));
    }
    fresh_end_ = end;
}

void BlockBatch::add_transfer(std::uint64_t, const Update& update, const Piece& piece) {
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
    if (update.fresh) written_.push_back(ByteRange::at(host, length));
}

void BlockBatch::clear_around(Bytes begin, Bytes end, Bytes former_size) {
    // What a file has gained since is a hole.
    BlockDevice& device = disk_.device();
    if (!device.fixed_size()) end = std::min(end, former_size);
    std::ranges::sort(written_, {}, &ByteRange::begin);
    for (const ByteRange& range : written_) {
        if (range.begin >= end) break;
        if (begin < range.begin) device.zero({begin, range.begin});
        begin = std::max(begin, range.end);
    }
    if (begin < end) device.zero({begin, end});
}

void BlockBatch::carry_out(DataMover& mover) {
    if (updates_.empty()) return;
    BlockDevice& device = disk_.device();
    const Bytes former_size = device.size();
    if (fresh_begin_ < fresh_end_) {
        disk_.keep_footer_behind(fresh_end_);
        clear_around(fresh_begin_, fresh_end_, former_size);
    }
    mover.move(device, transfers_);
    std::vector<WriteRequest> bitmaps;
    for (const auto& [block, update] : updates_)
        if (update.fresh) bitmaps.push_back({update.place, update.bits});
    device.write(bitmaps);
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
