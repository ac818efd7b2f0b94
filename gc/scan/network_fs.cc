#include "gc/scan/network_fs.h"

#include "format/base/error.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

namespace coppice {
namespace {

constexpr std::array<std::string_view, 22> local_types{
    "ext2", "ext3",     "ext4",  "xfs",      "btrfs", "zfs",     "tmpfs",  "ramfs",   "overlay", "f2fs",     "jfs",
    "vfat", "reiserfs", "exfat", "bcachefs", "ntfs3", "fuseblk", "nilfs2", "reiser4", "hfsplus", "devtmpfs", "rootfs"};

/// Numbers of statfs(2) of the same types, for a device that no mount has: a subvolume of btrfs has one of its own.
constexpr std::array<std::uint64_t, 10> local_numbers{0xEF53,     0x58465342, 0x9123683E, 0x2FC12FC1, 0x01021994,
                                                      0x858458F6, 0x794C7630, 0xF2F52010, 0x3153464A, 0xCA451A4E};

std::optional<std::uint64_t> device_number(std::string_view text) {
    const auto colon = text.find(':');
    if (colon == text.npos) return std::nullopt;
    unsigned major_number = 0;
    unsigned minor_number = 0;
    const char* const end = text.data() + text.size();
    if (std::from_chars(text.data(), text.data() + colon, major_number).ec != std::errc{}) return std::nullopt;
    if (std::from_chars(text.data() + colon + 1, end, minor_number).ec != std::errc{}) return std::nullopt;
    return makedev(major_number, minor_number);
}

} // namespace

std::optional<std::string> mounted_type(std::string_view mountinfo, std::uint64_t device) {
    // "36 35 98:0 /root /mnt options [optional fields] - type source options"
    std::istringstream lines{std::string{mountinfo}};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream fields{line};
        std::string id;
        std::string parent;
        std::string number;
        fields >> id >> parent >> number;
        if (device_number(number) != device) continue;
        const auto separator = line.find(" - ");
        if (separator == line.npos) continue;
        std::istringstream rest{line.substr(separator + 3)};
        std::string type;
        if (rest >> type) return type;
    }
    return std::nullopt;
}

bool is_shared_type(std::string_view type) {
    return std::ranges::find(local_types, type) == local_types.end();
}

bool other_hosts_may_use(const std::string& directory) {
    struct stat status {};
    if (::stat(directory.c_str(), &status) != 0) throw SystemError::from_errno("look at", directory);
    std::ifstream stream{"/proc/self/mountinfo"};
    const std::string mounts{std::istreambuf_iterator<char>{stream}, {}};
    if (const auto type = mounted_type(mounts, status.st_dev)) return is_shared_type(*type);
    struct statfs file_system {};
    if (::statfs(directory.c_str(), &file_system) != 0)
        throw SystemError::from_errno("read file system type", directory);
    const auto number = static_cast<std::uint64_t>(file_system.f_type) & 0xFFFFFFFF;
    return std::ranges::find(local_numbers, number) == local_numbers.end();
}

} // namespace coppice
