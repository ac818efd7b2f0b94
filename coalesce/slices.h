// A merge of two images on volumes that is cut into slices: what stands at the end of the emptied image is copied,
// leaves it, and the extents that it stood on serve the next slice. So a merge needs only the room of one slice at a
// time.
//
// Pure arithmetic over the maps of both images: what the planner prices, and what execution follows from slice to
// slice.
#pragma once

#include "coalesce/merged_space.h"
#include "coalesce/plan.h"
#include "format/tail_space.h"
#include "format/target_space.h"

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

namespace coppice {

/// Everything that is referred to outlives it.
struct SlicedPair {
    Direction direction = Direction::down;
    MappedLayer source;             ///< the image that is emptied
    std::vector<MappedLayer> below; ///< under both, newest first
    Bytes virtual_size;             ///< of the target, once it has grown
    const TailSpace& tail;          ///< of the source
    const TargetSpace& space;       ///< of the target
    Bytes source_volume;            ///< sizes of the volumes as they are, in whole `unit`
    Bytes target_volume;
    Bytes unit; ///< an extent
};

class Slices {
public:
    explicit Slices(SlicedPair pair) : pair_{std::move(pair)} {}

    /// How far the merge is, and the volumes then.
    struct State {
        RangeList moved; ///< guest stretches that have left the source; whole units of its mapping
        Bytes source;
        Bytes target;

        bool operator==(const State&) const = default;
    };
    /// Nothing has moved; the source is no larger than its image.
    State begin() const;
    /// The target's volume when everything is in it.
    Bytes whole() const;
    /// The state after the largest slice for which the target grows by at most `room`, nor by more than most_of_slice()
    /// unless the smallest one does. Where even that needs more than `room`: by how much the target has to grow.
    /// Nullopt inside: nothing shortens the source any more.
    std::variant<State, std::optional<Bytes>> next(const State& from, Bytes room) const;
    /// Where the source is by so many extents shorter, or more; nullopt where that does not shorten it at all.
    std::optional<State> shortened(const State& from, std::uint64_t units) const;

private:
    Bytes target_with(const RangeList& moved, Bytes at_least) const;

    SlicedPair pair_;
};

/// At most this much room is used by one slice that can be cut further: a slice is what is done at one go.
Bytes most_of_slice(Bytes unit);

/// What a merge in slices takes of the group at its worst, more than it has given back by then; or how much more than
/// `free` would have to be free for it.
struct SlicesFit {
    Bytes peak;
};
struct SlicesLack {
    Bytes lacking;
};
/// Goes through the slices, of a large image through some. `free` is what the target may grow by, without any entries
/// of journals.
std::variant<SlicesFit, SlicesLack> walk(const Slices& slices, const SlicedPair& pair, Bytes free);

} // namespace coppice
