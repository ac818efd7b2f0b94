// The data part of one step as an operation of the journal: begun, or taken up where an earlier attempt stopped;
// merged; verified; handed over to relinking.
#pragma once

#include "coalesce/images.h"
#include "coalesce/merge_context.h"

#include <memory>
#include <vector>

namespace coppice {

/// Whether the target, as it is `now`, can be the one that the operation poured data into: the same file, and written
/// to since the operation began. It is not after a snapshot has given its name to a new leaf, nor after a backup or an
/// older state of the storage has been brought back.
bool target_may_hold_data(const journal::Operation& operation, const journal::Fingerprint& now);

class MergeOperation {
public:
    /// Opens and claims the images of `step`, and looks for an unfinished operation to take up. Throws Refused or Busy
    /// where the SR is no longer as the step assumes.
    MergeOperation(const Step& step, MergeContext& context);
    ~MergeOperation();

    /// Returns when all data is durable in the target and verified, the intent to relink is recorded, and the images
    /// have been let go.
    void merge();
    /// The step is complete.
    void close();

    bool resumed() const { return resumed_; }
    Bytes copied() const { return record_.copied_bytes; }
    Bytes shared() const { return record_.shared_bytes; }

private:
    void require_shape(const SrTree& tree) const;
    void open(const SrTree& tree);
    void take_up_or_begin();
    void pour(const GuestView& now, const GuestView& after);
    std::vector<journal::Fingerprint> fingerprints() const;

    const Step& step_;
    MergeContext& context_;
    std::vector<std::unique_ptr<ClaimedImage>> sources_; ///< newest first
    std::unique_ptr<ClaimedImage> target_;
    std::vector<std::unique_ptr<Image>> beneath_; ///< below all of them, newest first
    journal::Operation record_;
    bool resumed_ = false;
};

} // namespace coppice
