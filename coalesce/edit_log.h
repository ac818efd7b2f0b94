// The journal as the place where header edits are recorded.
#pragma once

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

/// The bytes that stand in the places that the edit overwrites, in the order of its overwrites.
std::vector<Overwrite> current_bytes(const BlockDevice& device, const HeaderEdit& edit);

} // namespace coppice
