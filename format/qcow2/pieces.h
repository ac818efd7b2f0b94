// Bytes on their way into host clusters: from another device, from memory, from what lies beneath the image, or from a
// compressed cluster of the image itself. Collected first, written later in bounded memory.
#pragma once

#include "format/base/data_mover.h"
#include "format/guest_view.h"
#include "format/qcow2/header.h"

#include <span>
#include <vector>

namespace coppice::qcow2 {

/// A cluster of `device` whose compressed stream occupies [stream, stream + length). Throws CorruptImage where the
/// stream does not yield a whole cluster.
std::vector<std::byte> inflate_cluster(const BlockDevice& device, const Header& header, ByteRange stream);

struct Piece {
    enum class Source { device, memory, zeros, beneath, inflated };

    Source source = Source::zeros;
    Bytes target; ///< offset in the image's device
    Bytes length;
    const BlockDevice* device = nullptr; ///< Source::device
    Bytes offset;                        ///< device: in it; beneath: guest offset; inflated: inside the cluster
    const std::byte* memory = nullptr;   ///< Source::memory; not owned
    ByteRange stream;                    ///< Source::inflated
};

class Pieces {
public:
    /// Targets of one collection do not overlap.
    void add(const Piece& piece);
    bool empty() const { return pieces_.empty(); }
    std::size_t size() const { return pieces_.size(); }
    void write(BlockDevice& target, const Header& header, const GuestView& beneath, DataMover& mover) const;

private:
    std::vector<Piece> pieces_;
};

} // namespace coppice::qcow2
