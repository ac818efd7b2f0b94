// The SR in the short time in which nobody else changes it: a passage through its gate, and the trees as they are then.
#pragma once

#include "coalesce/images.h"
#include "coalesce/merge_context.h"

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace coppice {

/// The visible disks among `uuids` and everything that reads through them: those that must not be attached while names
/// and links of `uuids` change.
std::set<std::string> visible_readers(const SrTree& tree, const std::set<std::string>& uuids);

class LockedSr {
public:
    /// What is going to be changed, by the trees as they are.
    using Concerned = std::function<std::set<std::string>(const SrTree&)>;

    /// What takes its time on volumes is done before, so that it takes no time from others: what is concerned is held,
    /// and on request may be written to as well. That shows as a change of an image that could not be written to.
    enum class Ready { held, to_write };

    /// Enters, and looks at the SR again; where other leaves are concerned by then, leaves and enters anew. Throws what
    /// SrGate::enter throws, and Busy where the SR does not come to rest.
    LockedSr(MergeContext& context, const Concerned& concerned, Ready ready = Ready::held);

    const SrTree& tree() const { return tree_; }
    /// Others wait: what is left to do belongs into another passage.
    bool time_is_up() const { return std::chrono::steady_clock::now() - since_ > longest; }

private:
    // A change takes some tens of milliseconds; together they stay below the quarter of a second that sm notices.
    static constexpr std::chrono::milliseconds longest{100};

    std::unique_ptr<Passage> passage_;
    std::chrono::steady_clock::time_point since_;
    SrTree tree_;
};

/// Claims every image for writing, and looks once for whoever has one of them open. Throws Busy, or
/// Refused("attached").
std::vector<std::unique_ptr<ClaimedImage>> claim_all(MergeContext& context, const SrTree& tree,
                                                     const std::vector<std::string>& uuids);

/// Throws Refused("attached") where somebody has one of the images open that `uuids` name, or one that reads through
/// one of them.
void require_closed(MergeContext& context, const SrTree& tree, const std::set<std::string>& uuids);

} // namespace coppice
