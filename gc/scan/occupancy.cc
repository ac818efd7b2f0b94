#include "gc/scan/occupancy.h"

#include "format/base/error.h"
#include "format/base/unique_fd.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <thread>

namespace coppice {
namespace {

using ObjectKey = std::pair<std::uint64_t, std::uint64_t>; // device, inode; a block device has inode 0
using Wanted = std::map<ObjectKey, std::vector<std::size_t>>;

std::optional<int> as_pid(std::string_view name) {
    int pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc{} || end != name.data() + name.size() || pid <= 0) return std::nullopt;
    return pid;
}

/// Which stored object `name` in `directory` leads to. A process or descriptor may be gone meanwhile: nullopt.
std::optional<ObjectKey> object_at(int directory, const char* name) {
    struct statx status {};
    // Without asking a server: a dead network mount must not stop us, and these fields never change.
    if (::statx(directory, name, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &status) != 0) return std::nullopt;
    if (S_ISBLK(status.stx_mode)) return ObjectKey{::makedev(status.stx_rdev_major, status.stx_rdev_minor), 0};
    return ObjectKey{::makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino};
}

/// Whether this process has the capability by which one sees what others have open (CAP_SYS_PTRACE, number 19).
bool may_see_all() {
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("CapEff:")) return (std::stoull(line.substr(7), nullptr, 16) >> 19 & 1) != 0;
    return false;
}

/// As object_at, of another process. Throws where it is kept from us: what cannot be seen is not free. With the
/// capability, what is still refused belongs to processes outside our reach, such as another container's.
std::optional<ObjectKey> open_object_at(int directory, const char* descriptor, const std::string& process) {
    errno = 0;
    auto object = object_at(directory, descriptor);
    if (!object && (errno == EACCES || errno == EPERM)) {
        static const bool sees_all = may_see_all();
        if (!sees_all)
            throw SystemError{"look through open files without CAP_SYS_PTRACE", process + "/fd/" + descriptor,
                              std::make_error_code(std::errc::permission_denied)};
    }
    return object;
}

/// Calls `visit` with every name in the directory. False where the directory is gone.
bool for_each_entry(int parent, const std::string& name,
                    const std::function<void(int directory, const char* entry)>& visit) {
    const auto is_gone = [] { return errno == ENOENT || errno == ESRCH || errno == ENOTDIR; };
    UniqueFd fd{::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fd) {
        if (is_gone()) return false;
        throw SystemError::from_errno("look through open files", name);
    }
    const int directory = fd.get();
    const std::unique_ptr<DIR, int (*)(DIR*)> stream{::fdopendir(directory), ::closedir};
    if (!stream) {
        if (is_gone()) return false; // the process has ended since: its directory is open, but has no attributes
        throw SystemError::from_errno("look through open files", name);
    }
    fd.release();
    for (;;) {
        errno = 0;
        const dirent* const entry = ::readdir(stream.get());
        if (entry == nullptr) break;
        if (entry->d_name[0] != '.') visit(directory, entry->d_name);
    }
    // A process that ended while we read its descriptors has none any more.
    if (errno != 0 && errno != ENOENT && errno != ESRCH) throw SystemError::from_errno("look through open files", name);
    return true;
}

std::string first_line(const std::string& path) {
    std::ifstream stream{path};
    std::string line;
    std::getline(stream, line);
    return line;
}

void find_processes(const std::string& proc, const Wanted& wanted, std::vector<std::vector<Opener>>& result) {
    const auto visit_process = [&](int, const char* entry) {
        const auto pid = as_pid(entry);
        if (!pid || *pid == ::getpid()) return;
        std::vector<std::size_t> found;
        const std::string process = proc + "/" + entry;
        for_each_entry(AT_FDCWD, process + "/fd", [&](int directory, const char* descriptor) {
            const auto object = open_object_at(directory, descriptor, process);
            if (!object) return;
            if (const auto place = wanted.find(*object); place != wanted.end())
                found.insert(found.end(), place->second.begin(), place->second.end());
        });
        if (found.empty()) return;
        const std::string name = process_name(*pid, proc);
        std::ranges::sort(found);
        const auto rest = std::ranges::unique(found);
        found.erase(rest.begin(), rest.end());
        for (const std::size_t index : found)
            result[index].push_back({*pid, name});
    };
    if (!for_each_entry(AT_FDCWD, proc, visit_process))
        throw SystemError{"look through open files", proc, std::make_error_code(std::errc::no_such_file_or_directory)};
}

void find_loop_devices(const std::string& sys, const Wanted& wanted, std::vector<std::vector<Opener>>& result) {
    for_each_entry(AT_FDCWD, sys + "/block", [&](int, const char* entry) {
        const std::string device = entry;
        if (!device.starts_with("loop")) return;
        const std::string file = first_line(sys + "/block/" + device + "/loop/backing_file");
        if (file.empty()) return;
        const auto object = object_at(AT_FDCWD, file.c_str());
        if (!object) return;
        if (const auto place = wanted.find(*object); place != wanted.end())
            for (const std::size_t index : place->second)
                result[index].push_back({0, device});
    });
}

} // namespace

std::string process_name(int pid, const std::string& proc) {
    return first_line(proc + "/" + std::to_string(pid) + "/comm");
}

void HostOccupancy::sleep(std::chrono::milliseconds length) {
    std::this_thread::sleep_for(length);
}

std::unique_ptr<Claim> HostOccupancy::claim(BlockDevice& device, Purpose purpose) {
    return lock_image(device, purpose, *this, pause_);
}

std::optional<Opener> HostOccupancy::lock_holder(const BlockDevice& device) {
    return image_lock_holder(device, *this);
}

std::vector<std::vector<Opener>> HostOccupancy::openers(std::span<const FileIdentity> images) {
    std::vector<std::vector<Opener>> result(images.size());
    Wanted wanted;
    for (std::size_t index = 0; index < images.size(); ++index) {
        const FileIdentity& image = images[index];
        if (image.device != 0) wanted[{image.device, image.inode}].push_back(index); // zero: it could not be opened
    }
    if (wanted.empty()) return result;
    find_processes(proc_, wanted, result);
    find_loop_devices(sys_, wanted, result);
    for (auto& openers : result)
        std::ranges::sort(openers, {}, &Opener::pid);
    return result;
}

} // namespace coppice
