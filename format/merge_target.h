// An image as the receiver of a merge.
//
// Invariants of every implementation, whatever write is the last one before a crash:
//  - the image stays valid for every reader of its format;
//  - guest bytes change only inside the ranges handed to write(), which the caller knows to be masked from every guest
//    (they stand in a newer image, or they read the same as before);
//  - doing the same write() again is harmless.
#pragma once

#include "format/base/data_mover.h"
#include "format/guest_view.h"
#include "format/image.h"

#include <span>

namespace coppice {

/// Guest bytes that the target shall hold.
struct GuestWrite {
    enum class Source { device, memory, zeros };

    ByteRange guest; ///< sector aligned, inside the target's virtual size
    Source source;
    const BlockDevice* device = nullptr; ///< Source::device
    Bytes device_offset;                 ///< of guest.begin; behind the end of the device stand zeros
    std::span<const std::byte> memory;   ///< Source::memory; guest.length() bytes
};

/// The same as bytes of a device in which the guest's disk begins at byte 0.
Transfer plain_transfer(const GuestWrite& write);

/// What lies under the target: now, and once its header has been rewritten. The two differ only when the target pulls
/// its parent up into itself.
struct Beneath {
    const GuestView& now;   ///< fills the rest of a cluster of which a write covers only a part
    const GuestView& after; ///< decides whether zeros have to be written down at all
};

class MergeTarget {
public:
    virtual ~MergeTarget() = default;
    MergeTarget() = default;
    MergeTarget(const MergeTarget&) = delete;
    MergeTarget& operator=(const MergeTarget&) = delete;

    /// What must be in the image before the first write: feature bits that a writer has to clear. Durable on return.
    virtual void prepare() = 0;
    /// Enlarges the virtual size; the new range reads as zeros at every moment, whatever `beneath.now` and old content
    /// behind the former end hold. No effect where the size is already large enough. Durable on return.
    /// Throws Unsupported where the format cannot be that large.
    virtual void grow(Bytes virtual_size, const Beneath& beneath, DataMover& mover) = 0;
    /// Writes ascending, disjoint ranges. All of it is durable on return: data, flush, metadata, flush.
    virtual void write(std::span<const GuestWrite> batch, const Beneath& beneath, DataMover& mover) = 0;
    /// Brings hints and spare copies up to date (batmap, footers) and cuts space behind the image end. Durable on
    /// return. `becomes_root` tells that the header is going to name no parent, so that readers which ignore bitmaps
    /// may come.
    enum class Becomes { child, root };
    virtual void finish(Becomes becomes) = 0;
};

} // namespace coppice
