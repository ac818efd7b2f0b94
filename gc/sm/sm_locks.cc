#include "gc/sm/sm_locks.h"

#include "format/base/error.h"
#include "gc/scan/occupancy.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace coppice {
namespace {

// A file that is removed between opening and locking is opened anew; that often in a row nobody removes files.
constexpr int attempts = 100;

struct flock whole_file() {
    struct flock lock {}; // l_pid has to be zero for open-file-description locks
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

bool try_lock(int file, const std::string& path) {
    struct flock lock = whole_file();
    if (::fcntl(file, F_OFD_SETLK, &lock) == 0) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    throw SystemError::from_errno("lock", path);
}

/// As in /proc/locks: "08:01:5678".
std::string object_in_locks(const struct stat& status) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%llu", major(status.st_dev), minor(status.st_dev),
                  static_cast<unsigned long long>(status.st_ino));
    return text.data();
}

} // namespace

SmDirectories SmDirectories::of_this_host() {
    SmDirectories directories;
#ifdef COPPICE_FAULTS
    if (const char* const root = std::getenv("COPPICE_TEST_SM_ROOT"))
        for (std::string* place : {&directories.locks, &directories.flags, &directories.run_files})
            place->insert(0, root);
#endif
    return directories;
}

bool has_lock_waiters(int file, const std::string& proc_locks) {
    struct stat status {};
    if (::fstat(file, &status) != 0) return false;
    const std::string wanted = object_in_locks(status);
    std::ifstream locks{proc_locks};
    for (std::string line; std::getline(locks, line);) {
        // "7: -> POSIX  ADVISORY  WRITE 4711 00:19:1234 0 EOF": waits for the lock listed before it.
        std::istringstream fields{line};
        std::string number, arrow, kind, mode, access, pid, object;
        if (fields >> number >> arrow && arrow == "->" && fields >> kind >> mode >> access >> pid >> object &&
            kind != "FLOCK" && object == wanted)
            return true;
    }
    return false;
}

std::string record_lock_holder(int file) {
    struct flock lock = whole_file();
    const bool known = ::fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0;
    if (!known) return "a process that cannot be seen from here";
    const std::string name = process_name(lock.l_pid);
    return (name.empty() ? "pid " : name + ", pid ") + std::to_string(lock.l_pid);
}

SmLock::SmLock(const SmLocks& locks, std::string space, std::string name, UniqueFd file)
    : locks_{&locks}, space_{std::move(space)}, name_{std::move(name)}, file_{std::move(file)} {
    if (locks.observer_) locks.observer_(SmLocks::Event::taken, space_, name_);
}

SmLock::SmLock(SmLock&& other) noexcept
    : locks_{std::exchange(other.locks_, nullptr)}, space_{std::move(other.space_)}, name_{std::move(other.name_)},
      file_{std::move(other.file_)} {}

SmLock::~SmLock() {
    if (locks_ == nullptr) return;
    file_ = UniqueFd{};
    if (locks_->observer_) locks_->observer_(SmLocks::Event::released, space_, name_);
}

bool SmLock::is_wanted() const {
    if (!locks_->names(locks_->path(space_, name_), file_.get())) return true;
    return locks_->waiters_ ? locks_->waiters_(file_.get()) : has_lock_waiters(file_.get());
}

bool SmLocks::present() const {
    return std::filesystem::is_directory(root_);
}

std::string SmLocks::path(const std::string& space, const std::string& name) const {
    return root_ + "/" + space + "/" + name;
}

/// Invalid where the directory was removed in the same moment.
UniqueFd SmLocks::open_file(const std::string& space, const std::string& name) const {
    const std::string directory = root_ + "/" + space;
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
        throw SystemError::from_errno("create directory", directory);
    const std::string file = path(space, name);
    UniqueFd fd{::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)};
    if (!fd && errno != ENOENT) throw SystemError::from_errno("open", file);
    return fd;
}

bool SmLocks::names(const std::string& path, int file) const {
    struct stat named {};
    struct stat held {};
    return ::stat(path.c_str(), &named) == 0 && ::fstat(file, &held) == 0 && named.st_dev == held.st_dev &&
           named.st_ino == held.st_ino;
}

std::optional<SmLock> SmLocks::try_take(const std::string& space, const std::string& name) const {
    const std::string file = path(space, name);
    for (int attempt = 0; attempt < attempts; ++attempt) {
        UniqueFd fd = open_file(space, name);
        if (!fd) continue;
        const bool taken = try_lock(fd.get(), file);
        if (!names(file, fd.get())) continue;
        if (!taken) return std::nullopt;
        return SmLock{*this, space, name, std::move(fd)};
    }
    throw SystemError{"lock", file, std::error_code{ESTALE, std::generic_category()}};
}

std::string SmLocks::holder(const std::string& space, const std::string& name) const {
    const UniqueFd fd{::open(path(space, name).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
    return fd ? record_lock_holder(fd.get()) : "a process that has just ended";
}

} // namespace coppice
