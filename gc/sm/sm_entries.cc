#include "gc/sm/sm_entries.h"

#include "format/base/error.h"
#include "format/base/uuid.h"

#include <array>
#include <optional>
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
    constexpr std::string_view ends{"\0\n\r\t ", 5};
    while (!value.empty() && ends.find(value.back()) != std::string_view::npos)
        value.pop_back();
    return value;
}

/// nullopt where there is no such entry (any more). One bad file must not hide the others: its trouble is a value.
std::optional<SmEntry> read_entry(Storage& storage, SmEntryType type, std::string vdi, const std::string& file) {
    try {
        const auto content = read_small_file(storage, file, longest_value);
        if (!content || content->empty()) return std::nullopt;
        return SmEntry{type, std::move(vdi), without_line_end(*content), file, {}};
    } catch (const NotFound&) { // removed since the listing
        return std::nullopt;
    } catch (const Error& error) {
        return SmEntry{type, std::move(vdi), {}, file, error.what()};
    }
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
            if (auto entry = read_entry(storage, type, file.name.substr(prefix.size()), file.name))
                entries.push_back(std::move(*entry));
        }
    }
    return entries;
}

} // namespace coppice
