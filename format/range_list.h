// Sets of bytes as lists of stretches: ascending, disjoint, neighbours merged. Everything is linear in the number of
// stretches.
#pragma once

#include "format/base/byte_range.h"

#include <cstdint>
#include <vector>

namespace coppice {

using RangeList = std::vector<ByteRange>;

/// Adds a stretch that begins at or behind the last one's begin, merging the two where they meet. Empty ones are
/// dropped.
void add_range(RangeList& list, ByteRange range);

RangeList united(const RangeList& a, const RangeList& b);
RangeList intersected(const RangeList& a, const RangeList& b);
/// The parts of `list` that `by` does not cover.
RangeList subtracted(const RangeList& list, const RangeList& by);
/// Everything that `list` touches, in whole multiples of `unit`. Throws std::overflow_error at the end of 64 bits.
RangeList rounded_out(const RangeList& list, Bytes unit);
/// How many multiples of `unit` the list consists of; all its ends are such multiples.
std::uint64_t count_units(const RangeList& list, Bytes unit);

} // namespace coppice
