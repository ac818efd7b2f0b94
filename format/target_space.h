// What an image will take of its device once it has received a merge: computed before the merge begins, from what is
// known of the image as it is.
//
// A value that was read once and does no I/O any more. It describes the image as it was then.
#pragma once

#include "format/range_list.h"

namespace coppice {

/// What a merge hands to its target, and what lies under it.
struct MergeInput {
    /// Down: what is written is newer than what the target holds. Up: it is older, and fills only what the target
    /// leaves open; what the target holds is taken off here, so that the lists need not be.
    enum class Rank { newer, older };

    Rank rank = Rank::newer;
    Bytes virtual_size; ///< of the target, once it has grown; a multiple of 512
    RangeList data;     ///< that is written, in whole sectors, inside virtual_size
    RangeList zeros;    ///< that are written; disjoint from `data`
    /// Places inside `zeros` where those of one source may end and those of another begin, ascending. They are written
    /// apart, and one of the two perhaps not at all.
    std::vector<Bytes> seams{};
    RangeList beneath;     ///< where that what will lie under the target may hold data
    RangeList beneath_now; ///< the same of what lies under it while it is written to
};

class TargetSpace {
public:
    virtual ~TargetSpace() = default;
    TargetSpace() = default;
    TargetSpace(const TargetSpace&) = delete;
    TargetSpace& operator=(const TargetSpace&) = delete;

    /// Behind its last byte in use now, a footer at the end included: what it needs of a volume.
    virtual Bytes end() const = 0;
    /// The same after the merge. Never less than what the merge takes at any moment; exactly that in ordinary cases,
    /// which each format tells (docs/design/thick-space.md). Throws Refused("virtual-size") where the format does not
    /// allow the size, NoSpace where it has no room for that much data.
    virtual Bytes end_after(const MergeInput& merge) const = 0;
    /// When its guest has written to all of its disk, with holes of the image filled. Throws as end_after() does.
    virtual Bytes end_when_full(Bytes virtual_size) const;
};

inline Bytes TargetSpace::end_when_full(Bytes virtual_size) const {
    MergeInput all;
    all.virtual_size = virtual_size;
    all.data = {{0_B, virtual_size}};
    return end_after(all);
}

/// An image whose bytes stand where the guest sees them: raw, or a fixed VHD with its footer behind.
class FlatSpace final : public TargetSpace {
public:
    FlatSpace(Bytes end, Bytes tail) : end_{end}, tail_{tail} {}

    Bytes end() const override { return end_; }
    Bytes end_after(const MergeInput& merge) const override { return std::max(end_, merge.virtual_size + tail_); }

private:
    Bytes end_;
    Bytes tail_;
};

} // namespace coppice
