#include "gc/volumes/volume_occupancy.h"

#include "format/base/error.h"
#include "lvm/extent_device.h"
#include "lvm/names.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice {
namespace {

/// Number of the device of a mapped name; 0 where there is none any more.
dev_t number_of(const std::string& mapper_node) {
    struct stat status {};
    if (::stat(mapper_node.c_str(), &status) != 0 || !S_ISBLK(status.st_mode)) return 0;
    return status.st_rdev;
}

/// How often this process has the device open.
std::uint64_t own_descriptors(dev_t device) {
    std::uint64_t count = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", error}) {
        struct stat status {};
        if (::stat(entry.path().c_str(), &status) == 0 && S_ISBLK(status.st_mode) && status.st_rdev == device) ++count;
    }
    if (error) throw SystemError{"count own descriptors", "/proc/self/fd", error};
    return count;
}

using ObjectKey = std::pair<std::uint64_t, std::uint64_t>;

} // namespace

std::vector<std::vector<Opener>> VolumeOccupancy::openers(std::span<const FileIdentity> images) {
    std::map<ObjectKey, std::string> devices; // of volumes, by identity: the names of their devices
    const lvm::VgReport& report = storage_.report();
    for (const lvm::LvRow& row : report.lvs) {
        const FileIdentity identity = lvm::volume_identity(row.uuid, row.size, 0);
        devices[{identity.device, identity.inode}] = lvm::mapper_uuid(report.uuid, row.uuid);
    }
    std::map<std::string, lvm::DmRow> active; // by UUID, which no renaming changes
    for (lvm::DmRow& row : storage_.host().devices().list())
        active.emplace(row.uuid, std::move(row));

    std::vector<FileIdentity> nodes(images.size()); // zeros: nobody is asked for
    std::vector<const lvm::DmRow*> rows(images.size());
    for (std::size_t i = 0; i < images.size(); ++i) {
        const auto uuid = devices.find({images[i].device, images[i].inode});
        if (uuid == devices.end()) continue;
        const auto row = active.find(uuid->second);
        if (row == active.end()) continue;
        rows[i] = &row->second;
        nodes[i].device = number_of(storage_.host().mapper_node(row->second.name));
    }
    auto result = host_.openers(nodes);
    for (std::size_t i = 0; i < images.size(); ++i)
        if (rows[i] != nullptr && result[i].empty() && rows[i]->open_count > own_descriptors(nodes[i].device))
            result[i].push_back({0, "the kernel, or a process that cannot be seen"});
    return result;
}

} // namespace coppice
