#include "coalesce/edit_log.h"

namespace coppice {

std::vector<Overwrite> current_bytes(const BlockDevice& device, const HeaderEdit& edit) {
    std::vector<Overwrite> before;
    for (const auto& phase : edit.phases)
        for (const Overwrite& overwrite : phase) {
            std::vector<std::byte> bytes(overwrite.bytes.size());
            device.read_padded(overwrite.offset, bytes);
            before.push_back({overwrite.offset, std::move(bytes)});
        }
    return before;
}

void JournalEditLog::begin(const std::string& image, const HeaderEdit& edit) {
    const auto device = storage_.open(image, Access::read_only);
    open_.push_back(journal_.begin_edit(image, device->identity(), edit, current_bytes(*device, edit)));
}

void JournalEditLog::end() {
    journal_.end_edit(open_.back());
    open_.pop_back();
}

} // namespace coppice
