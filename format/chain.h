// A chain of open images as one guest disk: newest layer first, each clipped to its own size.
#pragma once

#include "format/guest_view.h"
#include "format/image.h"

#include <memory>
#include <span>
#include <vector>

namespace coppice {

/// One run of a chain: where the newest word on a stretch of guest bytes stands.
struct ChainRun {
    ByteRange guest;
    Content content;
    const Image* layer; ///< null for zeros that come from a layer's end rather than from its map
    MapRun run;         ///< the layer's own run, clipped to `guest`; unset for content zero
};

/// What `layers` (newest first) say about `window`, ascending; gaps are unallocated in all of them.
///
/// A layer is clipped to its size: behind it everything that no newer layer maps is zeros, whatever older layers hold
/// (VHD and QCOW2 readers alike). So a window that reaches behind the newest layer ends in zeros. With no layers there
/// are only gaps.
std::vector<ChainRun> composite_map(std::span<const Image* const> layers, ByteRange window);
/// The first offset at or behind `from` where composite_map may have a run, below `limit`.
std::optional<Bytes> next_composite(std::span<const Image* const> layers, Bytes from, Bytes limit);

/// Reads through layers. The images must outlive it.
class ChainView final : public GuestView {
public:
    explicit ChainView(std::vector<const Image*> newest_first) : layers_{std::move(newest_first)} {}

    Bytes size() const override;
    void read(Bytes offset, std::span<std::byte> buffer) const override;
    bool may_hold_data(ByteRange range) const override;

    const std::vector<const Image*>& layers() const { return layers_; }

private:
    std::vector<const Image*> layers_;
};

/// Copies the guest bytes of one run into `buffer`, which is as long as run.guest.
void read_run(const ChainRun& run, std::span<std::byte> buffer);

} // namespace coppice
