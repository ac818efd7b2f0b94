// What the planner has to know of an image's content in order to price a merge, as a value without file offsets.
// Everything here is linear in the number of runs.
#pragma once

#include "format/base/byte_range.h"
#include "format/check.h"
#include "format/image.h"
#include "format/tail_space.h"
#include "format/target_shape.h"
#include "format/target_space.h"

#include <memory>
#include <string>
#include <vector>

namespace coppice {

/// A stretch of guest bytes that a layer maps. Ascending, disjoint, neighbours of equal kind merged.
struct GuestRun {
    ByteRange guest;
    bool zero = false;       ///< explicit zeros rather than data
    bool compressed = false; ///< data whose place in the file cannot be written over

    bool operator==(const GuestRun&) const = default;
};
using GuestMap = std::vector<GuestRun>;

struct LayerFacts {
    GuestMap map;
    TargetShape shape;
    CheckReport check;
    std::shared_ptr<const TargetSpace> space{}; ///< exact, where the storage has volumes; else null
    std::shared_ptr<const TailSpace> tail{};    ///< where the storage has volumes; null also for some formats
    Bytes size_unit{};                          ///< of volumes, whose sizes are multiples of it; else 0
};

/// Reads the maps of `image` and describes it; of an image that `check` keeps from merges only the shape. Throws
/// CorruptImage where a map contradicts itself.
///
/// A map of more than `most_runs` runs is rounded outwards to coarser and coarser multiples, and counts as data. Bytes
/// to copy are an estimate then. What a target grows by is still bounded as long as the multiple is no larger than the
/// target's unit, which half a million runs guarantee for every VHD.
LayerFacts layer_facts(const Image& image, CheckReport check, std::size_t most_runs = 512 * 1024);

/// What `newer` over `older` maps, with `newer` clipped at `newer_size`: behind it and below `end`, zeros.
GuestMap overlay(const GuestMap& newer, Bytes newer_size, const GuestMap& older, Bytes end);
/// The parts of `map` that `by` does not cover.
GuestMap without(const GuestMap& map, const GuestMap& by);
/// The part of `map` inside `window`.
GuestMap clipped(const GuestMap& map, ByteRange window);
/// Everything that `map` touches, in whole multiples of `unit`, as data.
GuestMap coarsened(const GuestMap& map, Bytes unit);
/// Sum of the data runs; zeros cost nothing to move.
Bytes data_bytes(const GuestMap& map);
/// Adds a run behind the end of `map`, merging it into the last one where they continue each other.
void append(GuestMap& map, GuestRun run);

} // namespace coppice
