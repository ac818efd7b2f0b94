#include "gc/sm/sm_flags.h"

#include "format/base/error.h"
#include "format/base/log.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>

namespace coppice {
namespace {

constexpr std::string_view running_prefix = "gc_running_";
// Where the kernel has no watch left to give (fs.inotify.max_user_watches, fs.inotify.max_user_instances).
constexpr int unwatched_interval_ms = 500;

/// Of "<pid>\n"; 0 where the file is still empty or says something else.
pid_t writer_of(const std::string& flag) {
    std::ifstream stream{flag};
    std::string line;
    std::getline(stream, line);
    pid_t pid = 0;
    std::from_chars(line.data(), line.data() + line.size(), pid);
    return pid;
}

bool is_dead(pid_t pid) {
    return pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
}

} // namespace

bool abort_requested(const std::string& flags_of_sr) {
    if (flags_of_sr.empty()) return false;
    const std::string flag = flags_of_sr + "/abort";
    if (::access(flag.c_str(), F_OK) != 0) return false;
    const pid_t writer = writer_of(flag);
    if (!is_dead(writer)) return true;
    if (::unlink(flag.c_str()) == 0)
        log::notice("gc",
                    "removed a request to end whose writer is gone flag=" + flag + " pid=" + std::to_string(writer));
    return false;
}

AbortWatch::AbortWatch(std::string flags_of_sr, std::stop_token outer)
    : directory_{std::move(flags_of_sr)}, inotify_{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)},
      wake_{::eventfd(0, EFD_CLOEXEC)}, passed_on_{std::move(outer), [this] { source_.request_stop(); }} {
    if (directory_.empty()) return;
    if (!wake_) throw SystemError::from_errno("watch", directory_);
    // On a busy host the thread may come late: what stands already is heard before anything begins.
    if (!pass_on()) watcher_ = std::thread{[this] { watch(); }};
}

AbortWatch::~AbortWatch() {
    if (!watcher_.joinable()) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
    watcher_.join();
}

/// Watches the directory, or the deepest one on the way to it that exists. False where nothing can be watched.
bool AbortWatch::arm() {
    if (!inotify_) return false;
    constexpr std::uint32_t events = IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF;
    std::filesystem::path place = directory_;
    for (;;) {
        if (::inotify_add_watch(inotify_.get(), place.c_str(), events | IN_ONLYDIR) >= 0) {
            if (place == directory_) return true;
            // It may have been made between the two calls: then nothing would tell of it.
            std::filesystem::path next = directory_;
            while (next.parent_path() != place)
                next = next.parent_path();
            // What is no directory can only be replaced by one, and that is told.
            std::error_code ignored;
            if (!std::filesystem::is_directory(next, ignored)) return true;
            place = directory_;
        } else if ((errno == ENOENT || errno == ENOTDIR) && place.has_relative_path()) {
            place = place.parent_path();
        } else {
            return false;
        }
    }
}

/// Whether sm asks to end.
bool AbortWatch::pass_on() {
    if (!abort_requested(directory_)) return false;
    log::notice("gc", "sm asks to end flag=" + directory_ + "/abort");
    source_.request_stop();
    return true;
}

void AbortWatch::watch() {
    while (!source_.stop_requested()) {
        const bool armed = arm();
        if (pass_on()) return;
        std::array<pollfd, 2> waits{{{inotify_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
        if (::poll(waits.data(), waits.size(), armed ? -1 : unwatched_interval_ms) < 0 && errno != EINTR) return;
        if (waits[1].revents != 0) return;
        std::array<char, 4096> events;
        while (::read(inotify_.get(), events.data(), events.size()) > 0) {
        }
    }
}

RunningFile::RunningFile(const std::string& run_files_of_sr, const std::string& vdi)
    : path_{run_files_of_sr + "/" + std::string{running_prefix} + vdi} {
    std::error_code failed;
    std::filesystem::create_directories(run_files_of_sr, failed);
    const UniqueFd file{::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644)};
    if (!file || ::write(file.get(), "1", 1) != 1) throw SystemError::from_errno("write", path_);
}

RunningFile::~RunningFile() {
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT)
        log::error("gc", "cannot remove " + path_ + ", which whoever attaches the VDI waits for");
}

bool RunningFile::stop_wanted() const {
    struct stat status {};
    return ::stat(path_.c_str(), &status) != 0 || status.st_size == 0;
}

void remove_running_files(const std::string& run_files_of_sr) {
    std::error_code missing;
    for (const auto& entry : std::filesystem::directory_iterator{run_files_of_sr, missing})
        if (entry.path().filename().string().starts_with(running_prefix) && ::unlink(entry.path().c_str()) == 0)
            log::notice("gc", "removed what an ended merge has left file=" + entry.path().string());
}

} // namespace coppice
