// One batch of guest writes into a dynamic or differencing VHD: planned without any change, then carried out.
//
// Order of durability:
//   1. on a file: a valid footer behind the new blocks      | crash: the same image, a longer file
//   2. data, bitmaps of new blocks, zeros around them       | crash: as 1; data under clear bits and outside blocks
//   3. table entries, bitmaps of existing blocks            | crash: any part of the batch is in the image
// with a flush after each.
#pragma once

#include "format/merge_target.h"
#include "format/vhd/writable_disk.h"

#include <functional>
#include <map>
#include <span>
#include <vector>

namespace coppice::vhd {

class BlockBatch {
public:
    /// Whether zeros have to be written down where this disk maps nothing, because something below would show.
    using ZerosNeeded = std::function<bool(ByteRange guest)>;

    /// `writes` are ascending and disjoint, and must outlive it. Reads the bitmaps it needs. Throws NoSpace.
    BlockBatch(WritableDisk& disk, std::span<const GuestWrite> writes, const ZerosNeeded& zeros_needed);

    void carry_out(DataMover& mover);

private:
    struct Piece {
        ByteRange guest;
        const GuestWrite* write;
    };
    struct Update {
        bool fresh = false; ///< the block is not allocated yet
        Bytes place;
        std::vector<Piece> pieces;
        std::vector<std::byte> bits;
        std::vector<std::byte> bits_before;
    };

    void split(std::span<const GuestWrite> writes);
    void read_bitmaps();
    void decide(const ZerosNeeded& zeros_needed);
    void decide_zeros(std::uint64_t block, Update& update, const Piece& piece, const ZerosNeeded& zeros_needed);
    void place_fresh_blocks();
    void add_transfer(std::uint64_t block, const Update& update, const Piece& piece);
    void clear_around(Bytes begin, Bytes end, Bytes former_size);

    std::uint64_t sector_in_block(Bytes guest) const;
    Bytes host_of(const Update& update, Bytes guest) const;

    WritableDisk& disk_;
    std::map<std::uint64_t, Update> updates_;
    std::vector<Transfer> transfers_;
    std::vector<ByteRange> written_; ///< places in fresh blocks that transfers and bitmaps fill
    Bytes fresh_begin_;
    Bytes fresh_end_;
};

} // namespace coppice::vhd
