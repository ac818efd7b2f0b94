#include "gc/sm/sr_lock.h"

#include "format/base/error.h"
#include "format/base/log.h"
#include "gc/scan/occupancy.h"
#include "gc/sm/sm_flags.h"
#include "gc/sm/sm_gate.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace coppice {
namespace {

enum class Taken { yes, no, unknown_here };

/// The whole file, for this open file: unlike a classic record lock it is not lost when any other descriptor of the
/// file is closed, and both kinds exclude each other.
Taken take_record_lock(int fd, const std::string& name) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return Taken::yes;
    if (errno == EAGAIN || errno == EACCES) return Taken::no;
    if (errno == ENOLCK || errno == EINVAL || errno == EOPNOTSUPP) return Taken::unknown_here;
    throw SystemError::from_errno("lock", name);
}

std::string describe_process(int pid) {
    if (pid <= 0) return "a process that cannot be seen from here";
    const std::string name = process_name(pid);
    return (name.empty() ? "pid " : name + ", pid ") + std::to_string(pid);
}

/// Who holds flock(2) on the object, from lines such as "3: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF".
int flock_holder(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return 0;
    std::array<char, 64> wanted{};
    std::snprintf(wanted.data(), wanted.size(), "%02x:%02x:%llu", major(status.st_dev), minor(status.st_dev),
                  static_cast<unsigned long long>(status.st_ino));
    std::ifstream locks{"/proc/locks"};
    for (std::string line; std::getline(locks, line);) {
        std::istringstream fields{line};
        std::string number;
        std::string kind;
        std::string mode;
        std::string access;
        int pid = 0;
        std::string object;
        if (fields >> number >> kind >> mode >> access >> pid >> object && kind == "FLOCK" && object == wanted.data())
            return pid;
    }
    return 0;
}

void make_private_directory(const std::string& path) {
    const std::filesystem::path directory{path};
    if (path.empty() || std::filesystem::is_directory(directory)) return;
    make_private_directory(directory.parent_path());
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) throw SystemError::from_errno("create directory", path);
}

std::string content_of(int fd) {
    std::array<char, 256> buffer{};
    const ssize_t length = ::pread(fd, buffer.data(), buffer.size(), 0);
    return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
}

/// From "<pid> <verb>" in the lock file.
std::string describe_coppice(const std::string& content) {
    std::istringstream fields{content};
    int pid = 0;
    std::string verb;
    if (!(fields >> pid >> verb)) return "another coppice, which is just starting";
    return "coppice " + verb + " (pid " + std::to_string(pid) + ")";
}

} // namespace

SrLock::SrLock(const std::string& directory, const std::string& run_dir, const std::string& key,
               const std::string& sr_uuid, const std::string& verb, const std::string& sm_locks,
               const std::string& sm_flags, std::chrono::milliseconds patience)
    : sm_locks_{sm_locks}, sr_uuid_{sr_uuid} {
    lock_run_file(run_dir, key, verb);
    lock_directory(directory);
    if (sr_uuid.empty()) return;
    flags_ = sm_flags + "/" + sr_uuid;
    if (sm_locks_.present()) lock_out_sm(patience);
}

void SrLock::lock_run_file(const std::string& run_dir, const std::string& key, const std::string& verb) {
    make_private_directory(run_dir);
    // Never removed: somebody could hold the old file while a third one makes a new one of that name.
    const std::string path = run_dir + "/" + key + ".lock";
    run_file_ = UniqueFd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!run_file_) throw SystemError::from_errno("open", path);
    if (take_record_lock(run_file_.get(), path) == Taken::no)
        throw Busy{key, describe_coppice(content_of(run_file_.get()))};
    const std::string content = std::to_string(::getpid()) + " " + verb + "\n";
    if (::ftruncate(run_file_.get(), 0) != 0 ||
        ::pwrite(run_file_.get(), content.data(), content.size(), 0) != static_cast<ssize_t>(content.size()))
        throw SystemError::from_errno("write", path);
}

void SrLock::lock_directory(const std::string& directory) {
    if (directory.empty()) return; // volumes: all coppices of a host share one run directory there
    directory_ = UniqueFd{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!directory_) throw SystemError::from_errno("open directory", directory);
    if (::flock(directory_.get(), LOCK_EX | LOCK_NB) == 0) return;
    if (errno == EWOULDBLOCK)
        throw Busy{directory,
                   "another coppice, with another run directory: " + describe_process(flock_holder(directory_.get()))};
    // NFS makes record locks of it, which want a descriptor open for writing. --exclusive covers other hosts.
    log::debug("gc", "the file system has no lock for the directory " + directory);
}

void SrLock::lock_out_sm(std::chrono::milliseconds patience) {
    SmGate::Patience asking;
    asking.whole = patience;
    const SmLock sr = take_patiently(sm_locks_, sr_uuid_, "sr", asking, {});
    if (auto lock = sm_locks_.try_take(sr_uuid_, "gc_active"))
        gc_active_.emplace(std::move(*lock));
    else
        throw Busy{sr_uuid_, "sm-operation: the collector of sm works on this SR (" +
                                 sm_locks_.holder(sr_uuid_, "gc_active") + ")"};
}

bool SrLock::abort_requested() const {
    return coppice::abort_requested(flags_);
}

std::optional<SmLock> SrLock::begin_work() const {
    if (!shared_with_sm()) return std::nullopt;
    auto lock = sm_locks_.try_take(sr_uuid_, "running");
    if (!lock)
        throw Busy{sr_uuid_, "sm-operation: the SR is being attached (" + sm_locks_.holder(sr_uuid_, "running") + ")"};
    return lock;
}

} // namespace coppice
