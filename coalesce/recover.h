// Finishes or gives up what an earlier run has left open in the journal. Runs before anything is planned.
#pragma once

#include "coalesce/merge_context.h"
#include "format/base/error.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice {

/// What the host would not let us complete: a full or read-only file system, an I/O error. It is tried again by the
/// next run.
struct FailedRecovery {
    Step step;
    SystemError error;
};

/// What keeps an interrupted merge from being completed now.
struct Postponement {
    std::string text;    ///< for people
    bool freezes = true; ///< its tree has to be left alone; false: whatever postpones it keeps everything else off, too
};

/// Of the step that an earlier run has left open; nullopt: nothing is in the way.
using Postponed = std::function<std::optional<Postponement>(const Step& step)>;

struct Recovery {
    std::vector<StepResult> finished; ///< steps whose data was complete and that have now been completed
    std::vector<FailedRecovery> failed;
    std::vector<StepResult> refused; ///< what images or hosts keep from being completed: not to be tried all the time
    std::vector<std::string> notes;  ///< for the log and the event history, a sentence each
    /// VDIs that must not be touched for now, with the reason: an interrupted change of their header is still to be
    /// completed, but somebody has the image open.
    std::map<std::string, std::string> frozen;
};

/// First: completes torn headers, so that everything else can read the images.
Recovery recover_header_edits(MergeContext& context);
/// After what sm has left on the SR has been replayed: its entries tell the states of an exchange of names apart.
/// VDIs in `frozen` are left alone, and so is what is `postponed`; what was recorded of them stays. Nothing is opened
/// for writing that somebody has open.
Recovery recover_operations(MergeContext& context, const std::map<std::string, std::string>& frozen,
                            const Postponed& postponed);

} // namespace coppice
