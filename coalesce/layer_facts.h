// What the planner has to know of an image's content in order to price a merge, as a value without file offsets.
#pragma once

#include "format/base/byte_range.h"
#include "format/check.h"
#include "format/image.h"

#include <string>
#include <vector>

namespace coppice {

/// A stretch of guest bytes that a layer maps. Ascending, disjoint, neighbours of equal kind merged.
struct GuestRun {
    ByteRange guest;
    bool zero = false; ///< explicit zeros rather than data

    bool operator==(const GuestRun&) const = default;
};
using GuestMap = std::vector<GuestRun>;

/// How an image grows when it is written to.
struct TargetShape {
    Bytes unit = 512_B;       ///< what is allocated at once: VHD block, QCOW2 cluster
    Bytes fill_unit = 512_B;  ///< what is mapped at once: VHD sector, QCOW2 cluster or subcluster
    Bytes unit_overhead;      ///< metadata that comes with each new unit (VHD: sector bitmap and gap)
    Bytes table_covers;       ///< guest bytes under one second-level table; 0 where there is none
    Bytes table_size;         ///< its size in the file
    Bytes largest_virtual_size;
};

struct LayerFacts {
    GuestMap map;
    TargetShape shape;
    CheckReport check;
};

/// Reads the maps of `image` and describes it. Throws CorruptImage where a map contradicts itself.
LayerFacts layer_facts(const Image& image, CheckReport check);

/// What `newer` over `older` maps, with `newer` clipped at `newer_size`: behind it and below `end`, zeros.
GuestMap overlay(const GuestMap& newer, Bytes newer_size, const GuestMap& older, Bytes end);
/// The parts of `map` that `by` does not cover.
GuestMap without(const GuestMap& map, const GuestMap& by);
/// Sum of the data runs; zeros cost nothing to move.
Bytes data_bytes(const GuestMap& map);

} // namespace coppice
