#include "lvm/names.h"

#include "format/base/error.h"

#include <algorithm>
#include <array>

namespace coppice::lvm {
namespace {

constexpr std::size_t longest_mapper_name = 127;
constexpr std::size_t longest_tag = 1024;

bool is_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool consists_of(std::string_view text, std::string_view besides) {
    return std::ranges::all_of(text, [&](char c) { return is_alphanumeric(c) || besides.find(c) != besides.npos; });
}

constexpr std::array reserved_starts{"snapshot", "pvmove"};
constexpr std::array reserved_parts{"_cdata", "_cmeta",  "_corig",   "_cpool",  "_cvol",  "_mimage",
                                    "_mlog",  "_rimage", "_rmeta",   "_tdata",  "_tmeta", "_vdata",
                                    "_imeta", "_iorig",  "_pmspare", "_vorigin"};

std::string doubled(std::string_view name) {
    std::string result;
    for (const char c : name)
        result += c == '-' ? std::string{"--"} : std::string{c};
    return result;
}

std::string without_hyphens(std::string_view uuid) {
    std::string result{uuid};
    std::erase(result, '-');
    return result;
}

} // namespace

bool is_valid_name(std::string_view name) {
    return !name.empty() && name.size() <= longest_mapper_name && name.front() != '-' && name != "." && name != ".." &&
           consists_of(name, "+_.-") &&
           std::ranges::none_of(reserved_starts, [&](std::string_view word) { return name.starts_with(word); }) &&
           std::ranges::none_of(reserved_parts, [&](std::string_view word) { return name.find(word) != name.npos; });
}

void require_lv_name(const std::string& group, const std::string& name) {
    if (!is_valid_name(name)) throw Unsupported{"LV of " + group, "its name is not one that LVM takes"};
    if (mapper_name(group, name).size() > longest_mapper_name)
        throw Unsupported{qualified(group, name), "the name is too long for device-mapper"};
}

bool is_valid_tag(std::string_view tag) {
    return !tag.empty() && tag.size() <= longest_tag && consists_of(tag, "_+.-/=!:#&");
}

void require_tag(const std::string& tag) {
    if (!is_valid_tag(tag)) throw Unsupported{"tag \"" + tag + "\"", "it is not one that LVM takes"};
}

std::string qualified(const std::string& group, const std::string& lv) {
    return group + "/" + lv;
}

std::string mapper_name(std::string_view group, std::string_view lv) {
    return doubled(group) + "-" + doubled(lv);
}

std::string mapper_uuid(std::string_view group_uuid, std::string_view lv_uuid) {
    return "LVM-" + without_hyphens(group_uuid) + without_hyphens(lv_uuid);
}

} // namespace coppice::lvm
