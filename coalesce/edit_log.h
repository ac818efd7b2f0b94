// The journal as the place where header edits are recorded, and their recovery.
#pragma once

#include "coalesce/occupancy.h"
#include "format/base/header_edit.h"
#include "format/base/storage.h"
#include "journal/journal.h"

#include <string>
#include <vector>

namespace coppice {

/// Records an edit together with what it overwrites, so that recovery can tell a torn edit from an image that somebody
/// else has changed since.
class JournalEditLog final : public EditLog {
public:
    JournalEditLog(Storage& storage, journal::Journal& journal) : storage_{storage}, journal_{journal} {}

    void begin(const std::string& image, const HeaderEdit& edit) override;
    void end() override;

private:
    Storage& storage_;
    journal::Journal& journal_;
    std::vector<std::int64_t> open_;
};

/// What became of one pending edit.
struct RecoveredEdit {
    enum class Outcome {
        applied,  ///< half of it stood in the image; now all of it does
        unneeded, ///< none or all of it stood there: whoever wanted it will ask again where it is still right
        foreign,  ///< the image is gone or was changed by somebody else: forgotten
        in_use,   ///< somebody has the image open: stays pending
    };
    std::string image;
    Outcome outcome;
    std::string text;
};

/// Applies the edits that a crash left pending. The images in use stay as they are and must not be touched by anybody.
std::vector<RecoveredEdit> recover_edits(Storage& storage, journal::Journal& journal, Occupancy& occupancy);

} // namespace coppice
