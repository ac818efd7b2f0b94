#include "gc/volumes/volume_names.h"

#include "format/base/uuid.h"
#include "lvm/names.h"

#include <array>
#include <charconv>
#include <utility>

namespace coppice {
namespace {

constexpr std::size_t uuid_length = 36;
constexpr std::size_t longest_mapper_name = 127;
constexpr std::size_t content_length = 512;
constexpr std::string_view set_aside = "OLD_";
constexpr std::string_view nodes = "/dev/";
constexpr std::string_view mapper_nodes = "/dev/mapper/";

struct Kind {
    std::string_view prefix;
    std::string_view extension;
};
constexpr std::array<Kind, 3> kinds{{{"VHD-", ".vhd"}, {"QCOW2-", ".qcow2"}, {"LV-", ".raw"}}};

bool is_image_id(std::string_view id) {
    return is_uuid(id.starts_with(set_aside) ? id.substr(set_aside.size()) : id);
}

std::string_view without_prefix(std::string_view text, std::string_view prefix) {
    return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

std::string with_single_hyphens(std::string_view doubled) {
    std::string result;
    for (std::size_t at = 0; at < doubled.size(); ++at) {
        result += doubled[at];
        if (doubled[at] == '-' && at + 1 < doubled.size() && doubled[at + 1] == '-') ++at;
    }
    return result;
}

/// Types whose value always stands inside: readers never look at the name.
bool always_inside(std::string_view file) {
    return file.starts_with("clone_") || file.starts_with("leaf_");
}

} // namespace

std::optional<std::string> file_of_volume(std::string_view volume) {
    for (const Kind& kind : kinds)
        if (volume.starts_with(kind.prefix) && is_image_id(volume.substr(kind.prefix.size())))
            return std::string{volume.substr(kind.prefix.size())} + std::string{kind.extension};
    return std::nullopt;
}

std::optional<std::string> volume_of_file(std::string_view file) {
    for (const Kind& kind : kinds) {
        if (!file.ends_with(kind.extension)) continue;
        const std::string_view id = file.substr(0, file.size() - kind.extension.size());
        if (is_image_id(id)) return std::string{kind.prefix} + std::string{id};
    }
    return std::nullopt;
}

std::optional<std::string> file_of_parent_name(std::string_view stored, std::string_view group) {
    std::string_view name = without_prefix(stored, "./");
    const std::string node = std::string{nodes} + std::string{group} + '/';
    if (name.starts_with(node)) return file_of_volume(name.substr(node.size()));
    name = without_prefix(name, mapper_nodes);
    if (name.find('/') != std::string_view::npos) return std::nullopt;
    const std::string device = lvm::mapper_name(group, "");
    if (name.starts_with(device)) return file_of_volume(with_single_hyphens(name.substr(device.size())));
    return file_of_volume(name);
}

std::string parent_name_of_file(std::string_view file, std::string_view child, const std::string& group) {
    const std::string volume = volume_of_file(file).value_or(std::string{file});
    if (child.ends_with(".vhd")) return lvm::mapper_name(group, volume);
    return std::string{nodes} + group + '/' + volume;
}

std::optional<JournalVolume> journal_volume(std::string_view volume) {
    const std::size_t type = volume.find('_');
    if (type == std::string_view::npos) return std::nullopt;
    const std::size_t id = type + 1;
    if (!is_uuid(volume.substr(id, uuid_length))) return std::nullopt;
    const std::string_view rest = volume.substr(id + uuid_length);
    if (rest.size() < 2 || rest.front() != '_') return std::nullopt;
    JournalVolume result{std::string{volume.substr(0, id + uuid_length)}, std::string{rest.substr(1)}, false};
    result.inside = always_inside(result.file) && result.value == "1";
    return result;
}

NewJournalVolume new_journal_volume(const std::string& file, const std::string& value, const std::string& group) {
    const std::string whole = file + '_' + value;
    if (!always_inside(file) && !value.empty() && lvm::mapper_name(group, whole).size() <= longest_mapper_name)
        return {whole, false};
    return {file + "_1", true};
}

std::string journal_content(std::string_view value) {
    std::string content = std::to_string(value.size()) + ' ' + std::string{value};
    content.resize(std::max(content.size(), content_length), ' ');
    return content;
}

std::optional<std::string> value_of_journal_content(std::string_view content) {
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(content.data(), content.data() + content.size(), length);
    if (error != std::errc{} || end == content.data() + content.size() || *end != ' ') return std::nullopt;
    const std::string_view value = content.substr(static_cast<std::size_t>(end - content.data()) + 1);
    if (value.size() < length) return std::nullopt;
    return std::string{value.substr(0, length)};
}

} // namespace coppice
