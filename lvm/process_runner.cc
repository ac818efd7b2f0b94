#include "lvm/process_runner.h"

#include "format/base/log.h"
#include "format/base/unique_fd.h"
#include "lvm/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <system_error>

namespace coppice::lvm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// The end of a program shows as the end of its outputs; only where something else holds those does this bound matter.
constexpr milliseconds look_for_end{100};
// A process that does not die of SIGKILL hangs in the kernel.
constexpr milliseconds time_to_die{5000};
// Above every descriptor that a program is given, so that connecting one does not close another.
constexpr int above_given = 10;
constexpr int report_descriptor = STDERR_FILENO + 1;

void require(int error, const Command& command, const char* attempt) {
    if (error != 0) throw SystemError{attempt, command.arguments.front(), {error, std::generic_category()}};
}

/// One output of the program.
class Stream {
public:
    Stream(const Command& command, std::string& text, std::size_t kept, bool& cut)
        : text_{text}, kept_{kept}, cut_{cut} {
        std::array<int, 2> ends{};
        require(::pipe2(ends.data(), O_CLOEXEC) == 0 ? 0 : errno, command, "make pipe");
        UniqueFd low{ends[1]};
        read_ = UniqueFd{ends[0]};
        write_ = UniqueFd{::fcntl(low.get(), F_DUPFD_CLOEXEC, above_given)};
        require(write_ ? 0 : errno, command, "make pipe");
        ::fcntl(read_.get(), F_SETFL, O_NONBLOCK);
    }

    int reading_end() const { return read_.get(); }
    int writing_end() const { return write_.get(); }
    void started() { write_.reset(); }
    bool open() const { return static_cast<bool>(read_); }

    /// Takes what is there.
    void drain(const Command& command) {
        std::array<char, 65536> buffer{};
        while (open()) {
            const ssize_t count = ::read(read_.get(), buffer.data(), buffer.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0 && errno == EAGAIN) return;
            if (count < 0) throw SystemError::from_errno("read output", command.arguments.front());
            if (count == 0) return read_.reset();
            const auto room = std::min(static_cast<std::size_t>(count), kept_ - text_.size());
            text_.append(buffer.data(), room);
            cut_ = cut_ || room < static_cast<std::size_t>(count);
        }
    }

private:
    std::string& text_;
    std::size_t kept_;
    bool& cut_;
    UniqueFd read_;
    UniqueFd write_;
};

class SpawnSettings {
public:
    SpawnSettings() {
        ::posix_spawn_file_actions_init(&actions_);
        ::posix_spawnattr_init(&attributes_);
        sigset_t none, all;
        ::sigemptyset(&none);
        ::sigfillset(&all);
        note(::posix_spawnattr_setsigmask(&attributes_, &none));
        note(::posix_spawnattr_setsigdefault(&attributes_, &all));
        note(::posix_spawnattr_setpgroup(&attributes_, 0));
        note(::posix_spawnattr_setflags(&attributes_,
                                        POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP));
        note(::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0));
    }
    ~SpawnSettings() {
        ::posix_spawn_file_actions_destroy(&actions_);
        ::posix_spawnattr_destroy(&attributes_);
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;

    void connect(int from, int to) { note(::posix_spawn_file_actions_adddup2(&actions_, from, to)); }

    /// From the first that the program is not given.
    void close_others(int first) { note(::posix_spawn_file_actions_addclosefrom_np(&actions_, first)); }

    pid_t spawn(const Command& command) const {
        require(error_, command, "prepare to start");
        const auto pointers = [](std::vector<std::string>& words) {
            std::vector<char*> result;
            for (std::string& word : words)
                result.push_back(word.data());
            result.push_back(nullptr);
            return result;
        };
        Command copy = command;
        pid_t pid = 0;
        require(::posix_spawn(&pid, copy.arguments.front().c_str(), &actions_, &attributes_,
                              pointers(copy.arguments).data(), pointers(copy.environment).data()),
                command, "start");
        return pid;
    }

private:
    void note(int error) {
        if (error_ == 0) error_ = error;
    }

    posix_spawn_file_actions_t actions_{};
    posix_spawnattr_t attributes_{};
    int error_ = 0;
};

/// The status as CommandResult has it, once the process has ended.
std::optional<int> ended(pid_t pid) {
    int status = 0;
    const pid_t found = ::waitpid(pid, &status, WNOHANG);
    if (found < 0 && errno != EINTR) throw SystemError::from_errno("wait for", "process " + std::to_string(pid));
    if (found <= 0) return std::nullopt;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Reads until the process has ended, or until `deadline`.
std::optional<int> follow(pid_t pid, const Command& command, std::vector<Stream*> streams, Clock::time_point deadline) {
    for (;;) {
        std::erase_if(streams, [](const Stream* stream) { return !stream->open(); });
        const auto status = ended(pid);
        for (Stream* stream : streams)
            stream->drain(command);
        if (status) return status;
        if (Clock::now() >= deadline) return std::nullopt;
        std::vector<pollfd> events;
        for (const Stream* stream : streams)
            if (stream->open()) events.push_back({stream->reading_end(), POLLIN, 0});
        // Without any output left the end is a matter of microseconds.
        const milliseconds wait = events.empty() ? milliseconds{1} : look_for_end;
        ::poll(events.data(), events.size(), static_cast<int>(wait.count()));
    }
}

} // namespace

std::string Command::text() const {
    std::string text;
    for (const std::string& argument : arguments)
        text += (text.empty() ? "" : " ") + argument;
    return text;
}

std::string Command::program() const {
    return arguments.front().substr(arguments.front().rfind('/') + 1);
}

void ProcessRunner::reap_left_behind() {
    std::erase_if(left_behind_, [](pid_t pid) { return ended(pid).has_value(); });
}

CommandResult ProcessRunner::run(const Command& command) {
    reap_left_behind();
    CommandResult result;
    Stream output{command, result.output, kept_, result.cut};
    Stream errors{command, result.errors, kept_, result.cut};
    std::optional<Stream> report;
    std::vector<Stream*> streams{&output, &errors};
    SpawnSettings settings;
    settings.connect(output.writing_end(), STDOUT_FILENO);
    settings.connect(errors.writing_end(), STDERR_FILENO);
    if (command.has_report) {
        streams.push_back(&report.emplace(command, result.report, kept_, result.cut));
        settings.connect(report->writing_end(), report_descriptor);
    }
    settings.close_others(command.has_report ? report_descriptor + 1 : report_descriptor);
    const pid_t pid = settings.spawn(command);
    for (Stream* stream : streams)
        stream->started();

    const auto start = Clock::now();
    auto status = follow(pid, command, streams, start + command.limit);
    if (!status && command.kind == Command::Kind::changes) {
        log::warning("lvm", "a command takes long and is waited for command=\"" + command.text() + "\"");
        status = follow(pid, command, streams, Clock::time_point::max());
        log::notice("lvm", "the command has ended command=\"" + command.text() + "\"");
    }
    if (!status) {
        ::kill(-pid, SIGKILL);
        if (!follow(pid, command, streams, Clock::now() + time_to_die)) left_behind_.push_back(pid);
        throw CommandTimedOut{command};
    }
    result.status = *status;
    return result;
}

} // namespace coppice::lvm
