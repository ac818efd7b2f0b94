#include "format/parent_name.h"

namespace coppice {
namespace {

bool bare(std::string_view name) {
    return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos && name.find('\0') == name.npos;
}

/// What follows "<prefix><one component>/".
std::optional<std::string_view> below_one_component(std::string_view path, std::string_view prefix) {
    if (!path.starts_with(prefix)) return std::nullopt;
    path.remove_prefix(prefix.size());
    const auto slash = path.find('/');
    if (slash == path.npos || !bare(path.substr(0, slash))) return std::nullopt;
    return path.substr(slash + 1);
}

} // namespace

std::optional<std::string> name_inside_sr(std::string_view stored, std::string_view directory) {
    if (stored.substr(0, stored.find('/')).find(':') != stored.npos) return std::nullopt;
    std::string_view name = stored;
    while (name.starts_with("./"))
        name.remove_prefix(2);
    if (const auto rest = below_one_component(stored, "/var/run/sr-mount/")) name = *rest;
    if (const auto rest = below_one_component(stored, "/run/sr-mount/")) name = *rest;
    if (!directory.empty() && stored.starts_with(directory)) {
        const auto rest = stored.substr(directory.size());
        if (rest.starts_with('/')) name = rest.substr(1);
    }
    if (!bare(name)) return std::nullopt;
    return std::string{name};
}

} // namespace coppice
