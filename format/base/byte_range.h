// A half-open stretch of bytes, of a guest disk or of a file; which of the two is said by the name of the variable.
#pragma once

#include "format/base/units.h"

namespace coppice {

struct ByteRange {
    Bytes begin;
    Bytes end; ///< first byte behind the range; never before `begin`

    constexpr Bytes length() const { return end - begin; }
    constexpr bool empty() const { return begin == end; }
    constexpr bool contains(Bytes offset) const { return begin <= offset && offset < end; }
    constexpr bool contains(ByteRange other) const { return begin <= other.begin && other.end <= end; }
    constexpr bool overlaps(ByteRange other) const { return begin < other.end && other.begin < end; }
    constexpr bool operator==(const ByteRange&) const = default;

    static constexpr ByteRange at(Bytes begin, Bytes length) { return {begin, begin + length}; }
};

/// The part of `a` that lies in `b`; empty (at `a.begin` or `b.begin`) where they do not meet.
constexpr ByteRange intersection(ByteRange a, ByteRange b) {
    const Bytes begin = std::max(a.begin, b.begin);
    const Bytes end = std::min(a.end, b.end);
    return {begin, std::max(begin, end)};
}

} // namespace coppice
