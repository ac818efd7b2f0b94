// The data part of one step as an operation of the journal: begun, or taken up where an earlier attempt stopped;
// merged; verified; handed over to relinking.
#pragma once

#include "coalesce/give_way.h"
#include "coalesce/images.h"
#include "coalesce/locked_sr.h"
#include "coalesce/merge_context.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace coppice {

class MergeOperation {
public:
    /// Opens the images of `step`, and looks for an unfinished operation to take up. Throws Refused or Busy
    /// where the SR is no longer as the step assumes.
    MergeOperation(const Step& step, MergeContext& context);
    ~MergeOperation();

    /// Returns when all data is durable in the target and verified, the intent to relink is recorded, and the images
    /// have been let go.
    void merge();
    /// The step is complete.
    void close();

    const journal::Operation& record() const { return record_; }
    bool resumed() const { return resumed_; }
    Bytes copied() const { return record_.copied_bytes; }
    Bytes shared() const { return record_.shared_bytes; }

private:
    void open(const SrTree& tree);
    void take_up_or_begin();
    LockedSr enter_unused();
    void claim(const LockedSr& sr);
    bool let_readers_come();
    void let_go();
    std::unique_ptr<Passage> take_turn();
    void end_turn();
    void pour(const GuestView& now, const GuestView& after, GiveWay& give_way);
    void require_unchanged(const OpenedImage& source) const;
    std::vector<journal::Fingerprint> fingerprints() const;
    bool into_disk() const { return !target_->node().hidden; }

    const Step& step_;
    MergeContext& context_;
    std::vector<std::unique_ptr<OpenedImage>> sources_; ///< newest first
    std::unique_ptr<OpenedImage> target_;
    std::optional<Bytes> length_; ///< that the target's file must have before readers may come; nullopt: any
    std::vector<std::unique_ptr<Image>> beneath_; ///< below all of them, newest first
    /// Of the target and the sources, while the merge is announced. Before the announcement somebody who has looked for
    /// merges may still be about to open the chain, and behind its end somebody who has waited for it.
    std::vector<std::unique_ptr<Claim>> claims_;
    journal::Operation record_;
    std::vector<journal::Fingerprint> opened_; ///< the images as this attempt has opened them
    /// The visible target as our last write has left it: its name, its file, and when that last changed.
    std::pair<FileIdentity, std::optional<std::int64_t>> left_;
    bool resumed_ = false;
};

} // namespace coppice
