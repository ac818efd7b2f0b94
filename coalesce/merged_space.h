// What a pass of a merge hands to its target, from the maps of the layers: the input of TargetSpace::end_after(), which
// tells the exact size of the result. Pure, and linear in the number of runs for each layer.
#pragma once

#include "coalesce/layer_facts.h"
#include "format/target_space.h"

#include <span>

namespace coppice {

/// One image of the chain. `map` outlives it.
struct MappedLayer {
    const GuestMap& map;
    Bytes virtual_size;
};

/// Sources are poured down into a target under them. `sources` and `below`, what lies under the target, newest first.
/// The target is never larger than the newest source.
MergeInput poured_down(std::span<const MappedLayer> sources, std::span<const MappedLayer> below);

/// Sources are pulled up into a target over them, which is as large as it will be. `below` lies under the oldest
/// source.
MergeInput pulled_up(Bytes target_size, std::span<const MappedLayer> sources, std::span<const MappedLayer> below);

} // namespace coppice
