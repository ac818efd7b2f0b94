#include "gc/sm_entries.h"

#include "format/base/uuid.h"

#include <array>
#include <utility>

namespace coppice {
namespace {

constexpr Bytes longest_value = 256_B;

constexpr std::array<std::pair<SmEntryType, std::string_view>, 5> prefixes{{{SmEntryType::coalesce, "coalesce_"},
                                                                            {SmEntryType::relink, "relink_"},
                                                                            {SmEntryType::leaf, "leaf_"},
                                                                            {SmEntryType::clone, "clone_"},
                                                                            {SmEntryType::zero, "zero_"}}};

/// sm needs no line end behind the value, but one may stand there.
std::string without_line_end(std::string value) {
    while (!value.empty() && (value.back() == '\n' || value.back() == '\r' || value.back() == ' '))
        value.pop_back();
    return value;
}

} // namespace

std::string sm_entry_name(SmEntryType type, const std::string& vdi) {
    for (const auto& [candidate, prefix] : prefixes)
        if (candidate == type) return std::string{prefix} + vdi;
    return {};
}

std::vector<SmEntry> list_sm_entries(Storage& storage) {
    std::vector<SmEntry> entries;
    for (const StorageEntry& file : storage.list()) {
        if (file.kind != StorageEntry::Kind::file) continue;
        for (const auto& [type, prefix] : prefixes) {
            if (!file.name.starts_with(prefix) || !is_uuid(std::string_view{file.name}.substr(prefix.size()))) continue;
            const auto content = read_small_file(storage, file.name, longest_value);
            if (!content || content->empty()) continue;
            entries.push_back({type, file.name.substr(prefix.size()), without_line_end(*content), file.name});
        }
    }
    return entries;
}

} // namespace coppice
