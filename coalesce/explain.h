// Why a VDI is or is not being coalesced or collected: for every VDI of a tree one verdict, with the reason, who holds
// it, what unblocks it and what happens next. Pure.
#pragma once

#include "coalesce/plan.h"
#include "coalesce/schedule.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

/// The verdict on a VDI. (`Verdict` is the one on an image, see format/check.h.)
enum class Outlook {
    planned,       ///< named in a step that may begin
    running,       ///< part of the step under way
    waiting,       ///< goes on by itself when what is in the way is gone
    refused,       ///< stays as it is until an administrator changes something
    nothing_to_do, ///< there is nothing to merge or collect
};

std::string_view to_string(Outlook outlook); ///< "nothing-to-do"

/// Whether a VDI that is left alone for this reason code waits, is refused, or has nothing to do. Unknown codes wait.
Outlook outlook_of_reason(std::string_view reason);

/// Whoever keeps a VDI from being worked on.
struct Holder {
    std::string kind; ///< "process", "lock", "sm-journal", "hold", "pause", "vm"
    std::string name; ///< of the process, the lock; of a hold its id, of a pause its owner
    int pid = 0;      ///< 0 where there is none
    std::string text; ///< for people
    bool operator==(const Holder&) const = default;
};

struct Explanation {
    std::string vdi;
    Outlook verdict = Outlook::nothing_to_do;
    /// Reason code, never empty: that of Plan::skipped where the VDI is named there; otherwise what is done (collect,
    /// coalesce, leaf-coalesce, relink), or why there is nothing to do (visible, shared, not-planned).
    std::string reason;
    std::string text;                 ///< sentences for people, which name what is in the way
    std::vector<Holder> holders;      ///< not all where there are very many
    std::string unblocks;             ///< what has to happen, for people; empty when nothing is in the way
    std::string next;                 ///< what coppice does next with it
    std::optional<UnixSeconds> since; ///< filled in from the journal
    bool operator==(const Explanation&) const = default;
};

/// What is known beside the tree and the plan. Holds and frozen entries should be those that the plan was made with:
/// the plan decides, and what is said here only tells more of it.
struct Situation {
    const Step* running = nullptr;                    ///< the step under way, if any; by the names that `tree` has
    std::map<std::string, std::vector<Holder>> holds; ///< by vdi: holds that an admin made, with the hold's id as name
    std::map<std::string, std::string> frozen;        ///< by vdi: entries of sm, unfinished header changes
    std::optional<Pause> pause;                       ///< as given to admit()
    std::optional<UnixSeconds> next_cycle;            ///< when the service looks again; nullopt without a service
};

/// One for each node of `tree`, sorted by vdi. `admitted` is what admit() made of the plan. A VDI is planned where a
/// step empties it, pours into it, or relinks it. O(n log n).
std::vector<Explanation> explain(const SrTree& tree, const Plan& admitted, const Situation& situation);

} // namespace coppice
