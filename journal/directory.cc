#include "journal/directory.h"

#include "format/base/error.h"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace coppice::journal {
namespace {

namespace fs = std::filesystem;

UniqueFd open_directory(const fs::path& directory) {
    UniqueFd fd{::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fd) throw SystemError::from_errno("open directory", directory.string());
    return fd;
}

} // namespace

void make_directories(const fs::path& path) {
    if (path.empty()) return;
    std::error_code trouble;
    if (fs::exists(path, trouble)) return;
    if (trouble) throw SystemError{"look up", path.string(), trouble};
    make_directories(path.parent_path());
    if (::mkdir(path.c_str(), 0700) != 0) {
        if (errno == EEXIST) return;
        throw SystemError::from_errno("create directory", path.string());
    }
    flush_directory(path.parent_path());
}

void flush_directory(const fs::path& directory) {
    if (::fsync(open_directory(directory).get()) != 0)
        throw SystemError::from_errno("flush directory", directory.string());
}

OpeningLock::OpeningLock(const fs::path& directory, int timeout_ms) : directory_{open_directory(directory)} {
    constexpr std::chrono::milliseconds pause{5};
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds{timeout_ms};
    // flock cannot wait with a limit.
    while (::flock(directory_.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) throw SystemError::from_errno("lock directory", directory.string());
        if (std::chrono::steady_clock::now() >= end)
            throw Busy{directory.string(), "another process is opening the journal"};
        std::this_thread::sleep_for(pause);
    }
}

} // namespace coppice::journal
