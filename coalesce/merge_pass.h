// The data part of a merge: pours what the sources map into the target, in ascending guest order, batch by batch.
//
// Order of durability for each batch (docs/design/merge.md): data, flush, metadata, flush (all inside
// MergeTarget::write), then the cursor. So what lies below a recorded cursor never has to be done again, and a batch
// that was cut short is simply done once more. The sources are only read.
#pragma once

#include "format/chain.h"
#include "format/merge_target.h"

#include <functional>
#include <stop_token>
#include <vector>

namespace coppice {

/// At most this much is done again after a crash.
inline constexpr Bytes batch_limit = 32_MiB;

struct MergePass {
    std::vector<const Image*> sources; ///< newest first
    /// The target before the pass. Its map is asked only about ranges that the pass has not written yet, for which it
    /// stays right although the image behind it changes.
    const Image& target;
    Beneath beneath;
    Bytes end; ///< virtual size of the target once it has grown
    /// Down: sources are newer than the target and win. Up: they are older, and fill only what the target leaves open.
    enum class Rank { newer, older };
    Rank rank;
    /// Only what lies in these stretches of the guest's disk takes part; nullptr: everything.
    const RangeList* only = nullptr;
    /// One write hands over at most about this much.
    Bytes batch = batch_limit;
    /// Does each write: others may have to be kept out for it.
    std::function<void(const std::function<void()>& write)> around = [](const auto& write) { write(); };
};

/// Called when everything below `cursor` is durable; `handled` guest bytes were written since the last call. May throw
/// to end the pass there.
using OnDurable = std::function<void(Bytes cursor, Bytes handled)>;

/// From `cursor` on. Throws StopRequested between two batches.
void run_merge_pass(const MergePass& pass, MergeTarget& target, DataMover& mover, Bytes cursor, std::stop_token stop,
                    const OnDurable& on_durable);

/// What the sources of `pass` say in `window`, as far as it takes part.
std::vector<ChainRun> source_runs(const MergePass& pass, ByteRange window);

/// The runs of `pass` in `window` that the target needs to be given: what it holds already (Rank::older), and zeros
/// that need not be written down, are left out.
std::vector<ChainRun> runs_to_write(const MergePass& pass, ByteRange window);

} // namespace coppice
