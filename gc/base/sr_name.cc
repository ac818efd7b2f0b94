#include "gc/base/sr_name.h"

#include "format/base/error.h"
#include "format/base/uuid.h"
#include "gc/base/exit_status.h"
#include "lvm/names.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <sys/stat.h>

namespace coppice {
namespace {

constexpr std::string_view mounts = "/var/run/sr-mount/";
constexpr std::string_view groups = "VG_XenStorage-";
constexpr std::string_view volume_group = "vg:";
constexpr std::size_t shortest_prefix = 8;

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

std::string canonical(const std::string& path) {
    const std::unique_ptr<char, decltype(&std::free)> resolved{::realpath(path.c_str(), nullptr), &std::free};
    if (resolved) return resolved.get();
    if (errno == ENOENT || errno == ENOTDIR) throw NotFound{path, "no such directory"};
    throw SystemError::from_errno("resolve", path);
}

/// Whether there is such a group shows when it is reported.
SrLocation at_group(const std::string& name) {
    if (!lvm::is_valid_name(name)) throw UsageError{"'" + name + "' is no name of a volume group"};
    SrLocation result;
    result.group = name;
    if (name.starts_with(groups) && is_uuid(name.substr(groups.size())))
        result.uuid = lower(name.substr(groups.size()));
    result.name = result.uuid.empty() ? std::string{volume_group} + name : result.uuid;
    return result;
}

SrLocation at_directory(const std::string& path, std::string uuid) {
    SrLocation result;
    result.directory = canonical(path);
    struct stat status {};
    if (::stat(result.directory.c_str(), &status) != 0) throw SystemError::from_errno("read status", path);
    if (!S_ISDIR(status.st_mode)) throw NotFound{path, "is not a directory"};
    if (uuid.empty()) {
        const std::string last = result.directory.substr(result.directory.rfind('/') + 1);
        if (is_uuid(last)) uuid = lower(last);
    }
    result.uuid = std::move(uuid);
    result.name = result.uuid.empty() ? result.directory : result.uuid;
    return result;
}

} // namespace

SrLocation locate_sr(const std::string& sr) {
    if (sr.empty()) throw UsageError{"the SR has an empty name"};
    if (sr.starts_with(volume_group)) return at_group(sr.substr(volume_group.size()));
    if (is_uuid(sr)) {
        const std::string mount = std::string{mounts} + lower(sr);
        struct stat status {};
        if (::stat(mount.c_str(), &status) == 0) return at_directory(mount, lower(sr));
        // A directory of that name in the working directory is meant only where there is no SR of that name.
        if (::stat(sr.c_str(), &status) != 0) return at_group(std::string{groups} + lower(sr));
    }
    return at_directory(sr, {});
}

const TreeNode& find_vdi(const SrTree& tree, const std::string& vdi) {
    const std::string wanted = lower(vdi);
    for (const TreeNode& node : tree.nodes)
        if (lower(node.uuid) == wanted) return node;
    if (wanted.size() < shortest_prefix)
        throw NotFound{vdi, "no VDI of this name; a UUID may be shortened to " + std::to_string(shortest_prefix) +
                                " characters and no further"};
    const TreeNode* found = nullptr;
    for (const TreeNode& node : tree.nodes) {
        if (!lower(node.uuid).starts_with(wanted)) continue;
        if (found != nullptr)
            throw UsageError{"'" + vdi + "' fits more than one VDI: " + found->uuid + " and " + node.uuid};
        found = &node;
    }
    if (found == nullptr) throw NotFound{vdi, "no such VDI in this SR"};
    return *found;
}

std::set<std::string> find_vdis(const SrTree& tree, const std::vector<std::string>& vdis) {
    std::set<std::string> uuids;
    for (const std::string& vdi : vdis)
        uuids.insert(find_vdi(tree, vdi).uuid);
    return uuids;
}

} // namespace coppice
