// What becomes of header edits that a crash has left recorded in the journal.
#pragma once

#include "coalesce/occupancy.h"
#include "format/base/storage.h"
#include "journal/journal.h"

#include <string>
#include <vector>

namespace coppice {

/// What became of one pending edit.
struct RecoveredEdit {
    enum class Outcome {
        applied,  ///< half of it stood in the image; now all of it does
        undone,   ///< half of it stood there, without effect so far; now nothing of it does
        unneeded, ///< none or all of it stood there: whoever wanted it will ask again where it is still right
        foreign,  ///< the image is gone or was changed by somebody else: forgotten
        in_use,   ///< somebody has the image open: stays pending
    };
    std::string image;
    Outcome outcome;
    std::string text;
};

/// Brings the images whose header a crash left half changed back into a state that somebody has wanted.
///
/// A change of parent goes the way that the image already reads. Where it still names the old parent it is undone: what
/// was known of the new one when the change was wanted may be true no longer, and whoever asks for it again will look.
/// Where it names the new one, that is what a guest may have read since, and it is completed. So is every change that
/// leaves the parent alone.
///
/// Images in use stay as they are and must not be touched by anybody.
std::vector<RecoveredEdit> recover_edits(Storage& storage, journal::Journal& journal, Occupancy& occupancy);

} // namespace coppice
