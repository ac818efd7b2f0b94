// A merge for which there is no room at one go: slice after slice moves from the end of the emptied image into the
// target, until what is left fits.
//
// For each slice, in this order:
//   1. room in the target for exactly this slice
//   2. data, flush, tables, flush; verified              | killed: the target holds more than it need, masked as ever
//   3. the source forgets it, flush                      | killed: some of it is in both, or leaks
//   4. the source's volume is cut                        | killed: it is larger than its image
// Between any two of them both images are ordinary members of an ordinary chain, so that nothing has to be recovered:
// whoever looks next finds the same guest bytes and less to do.
#pragma once

#include "coalesce/give_way.h"
#include "coalesce/images.h"
#include "coalesce/locked_sr.h"
#include "coalesce/merge_context.h"
#include "coalesce/slices.h"

#include <memory>
#include <vector>

namespace coppice {

class SlicedMerge {
public:
    /// `step` says in_slices.
    SlicedMerge(const Step& step, MergeContext& context) : step_{step}, context_{context} {}

    /// Returns when the rest fits at one go. Throws Refused("no-space") where it does not and nothing can be given up
    /// any more, Busy, StopRequested, and what merging throws; what has been moved by then stays moved.
    void run();
    MovedBytes moved() const { return {record_.shared_bytes, record_.copied_bytes}; }

private:
    /// Both images as they are, what is known of them, and the volumes.
    struct Look {
        TreeNode source;
        TreeNode target;
        std::unique_ptr<Image> source_image;
        std::unique_ptr<Image> target_image;
        std::vector<std::unique_ptr<Image>> below; ///< under both, newest first
    };

    void begin_record();
    void give_up_earlier();
    std::vector<std::unique_ptr<Claim>> claim(OpenedImage& source, OpenedImage& target);
    Look look() const;
    bool go_on(GiveWay& give_way);
    bool trim();
    void cut(const TreeNode& node, const RangeList& guest);
    void move(Look look, const Slices::State& slice, GiveWay& give_way);
    void pour(const Look& look, const RangeList& only, GiveWay& give_way);
    void forget(const FileIdentity& source, const Slices::State& slice);
    LockedSr enter() const;

    const Step& step_;
    MergeContext& context_;
    journal::Operation record_;
    Bytes source_before_; ///< volumes when the step began
    Bytes target_before_;
    Bytes handled_; ///< guest bytes
};

} // namespace coppice
