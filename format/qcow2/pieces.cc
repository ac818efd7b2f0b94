#include "format/qcow2/pieces.h"

#include "format/base/error.h"
#include "format/qcow2/compressed.h"

#include <algorithm>
#include <deque>

namespace coppice::qcow2 {
namespace {

constexpr Bytes most_held = 8_MiB; // in buffers of one call of the mover
constexpr Bytes most_read = 1_MiB; // of what lies beneath, at once
constexpr std::size_t most_transfers = 4096;

/// Gathers transfers, and hands them over when their buffers have become large.
class Gathering {
public:
    Gathering(BlockDevice& target, DataMover& mover) : target_{target}, mover_{mover} {}

    void add(const Transfer& transfer) {
        transfers_.push_back(transfer);
        if (transfers_.size() >= most_transfers) hand_over();
    }
    void add(std::vector<std::byte> bytes, Bytes offset) {
        held_ += Bytes{bytes.size()};
        transfers_.push_back(Transfer::from_memory(buffers_.emplace_back(std::move(bytes)), offset));
        if (held_ >= most_held || transfers_.size() >= most_transfers) hand_over();
    }
    void hand_over() {
        if (!transfers_.empty()) mover_.move(target_, transfers_);
        transfers_.clear();
        buffers_.clear();
        held_ = 0_B;
    }

private:
    BlockDevice& target_;
    DataMover& mover_;
    std::vector<Transfer> transfers_;
    std::deque<std::vector<std::byte>> buffers_;
    Bytes held_;
};

void add_beneath(Gathering& gathering, const Piece& piece, const GuestView& beneath) {
    for (Bytes done; done < piece.length;) {
        const Bytes length = std::min(most_read, piece.length - done);
        const ByteRange guest = ByteRange::at(piece.offset + done, length);
        if (beneath.may_hold_data(guest)) {
            std::vector<std::byte> bytes(length.count());
            beneath.read(guest.begin, bytes);
            gathering.add(std::move(bytes), piece.target + done);
        } else {
            gathering.add(Transfer::zeros(piece.target + done, length));
        }
        done += length;
    }
}

} // namespace

std::vector<std::byte> inflate_cluster(const BlockDevice& device, const Header& header, ByteRange stream) {
    std::vector<std::byte> compressed(stream.length().count());
    device.read_padded(stream.begin, compressed);
    std::vector<std::byte> cluster(header.cluster_size().count());
    if (!decompress(header.compression_type, compressed, cluster))
        throw CorruptImage{device.name(), stream.begin, "a compressed stream that yields a whole cluster"};
    return cluster;
}

void Pieces::add(const Piece& piece) {
    if (piece.length == 0_B) return;
    if (!pieces_.empty()) {
        Piece& last = pieces_.back();
        const bool continues =
            last.source == piece.source && last.target + last.length == piece.target && last.device == piece.device &&
            (piece.source == Piece::Source::zeros ||
             (piece.source == Piece::Source::memory && last.memory + last.length.count() == piece.memory) ||
             ((piece.source == Piece::Source::device || piece.source == Piece::Source::beneath) &&
              last.offset + last.length == piece.offset));
        if (continues) {
            last.length += piece.length;
            return;
        }
    }
    pieces_.push_back(piece);
}

void Pieces::write(BlockDevice& target, const Header& header, const GuestView& beneath, DataMover& mover) const {
    Gathering gathering{target, mover};
    // One compressed cluster may be wanted in several pieces, which stand next to each other.
    ByteRange inflated_from;
    std::vector<std::byte> inflated;
    for (const Piece& piece : pieces_) {
        switch (piece.source) {
        case Piece::Source::device:
            gathering.add(Transfer::from_device(*piece.device, piece.offset, piece.target, piece.length));
            break;
        case Piece::Source::memory:
            gathering.add(Transfer::from_memory({piece.memory, piece.length.count()}, piece.target));
            break;
        case Piece::Source::zeros:
            gathering.add(Transfer::zeros(piece.target, piece.length));
            break;
        case Piece::Source::beneath:
            add_beneath(gathering, piece, beneath);
            break;
        case Piece::Source::inflated:
            if (inflated.empty() || inflated_from != piece.stream) {
                inflated = inflate_cluster(target, header, piece.stream);
                inflated_from = piece.stream;
            }
            const auto part = std::span{inflated}.subspan(piece.offset.count(), piece.length.count());
            gathering.add({part.begin(), part.end()}, piece.target);
            break;
        }
    }
    gathering.hand_over();
}

} // namespace coppice::qcow2
