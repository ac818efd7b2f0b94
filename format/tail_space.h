// How an image gets shorter: what has to leave it so that it ends earlier, and where it ends then.
//
// A value that was read once and does no I/O any more. It describes the image as it was then. Linear in the number of
// stretches, for each call.
#pragma once

#include "format/range_list.h"

namespace coppice {

class TailSpace {
public:
    virtual ~TailSpace() = default;
    TailSpace() = default;
    TailSpace(const TailSpace&) = delete;
    TailSpace& operator=(const TailSpace&) = delete;

    /// What the image must map nothing of so that it ends at or before `end`, or as early as it can get: whole units of
    /// its mapping, so that the last one may reach behind the disk.
    virtual RangeList beyond(Bytes end) const = 0;
    /// Where it ends, a footer included, when it maps nothing of `guest` any more, which beyond() has given.
    virtual Bytes end_without(const RangeList& guest) const = 0;
};

} // namespace coppice
