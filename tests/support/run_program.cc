#include "tests/support/run_program.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace coppice::test {
namespace {

std::string text_of(const Command& command) {
    std::string text;
    for (const std::string& argument : command)
        text += (text.empty() ? "" : " ") + argument;
    return text;
}

[[noreturn]] void fail(const Command& command, const std::string& cause) {
    throw std::runtime_error{text_of(command) + ": " + cause};
}

void require(int error, const Command& command, const char* attempt) {
    if (error != 0) fail(command, std::string{attempt} + ": " + std::generic_category().message(error));
}

struct Pipe {
    UniqueFd read;
    UniqueFd write;
};

Pipe make_pipe(const Command& command) {
    std::array<int, 2> ends{};
    require(::pipe2(ends.data(), O_CLOEXEC) == 0 ? 0 : errno, command, "pipe");
    return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

/// What is done with descriptors and directory between fork and exec.
class Preparation {
public:
    Preparation() { ::posix_spawn_file_actions_init(&actions_); }
    ~Preparation() { ::posix_spawn_file_actions_destroy(&actions_); }
    Preparation(const Preparation&) = delete;
    Preparation& operator=(const Preparation&) = delete;

    void connect(int from, int to) { note(::posix_spawn_file_actions_adddup2(&actions_, from, to)); }
    void open_nothing(int as) { note(::posix_spawn_file_actions_addopen(&actions_, as, "/dev/null", O_RDONLY, 0)); }
    void enter(const std::filesystem::path& directory) {
        note(::posix_spawn_file_actions_addchdir_np(&actions_, directory.c_str()));
    }

    pid_t spawn(Command command) const {
        require(error_, command, "prepare");
        std::vector<char*> arguments;
        for (std::string& argument : command)
            arguments.push_back(argument.data());
        arguments.push_back(nullptr);
        pid_t pid = 0;
        require(::posix_spawnp(&pid, arguments.front(), &actions_, nullptr, arguments.data(), ::environ), command,
                "start");
        return pid;
    }

private:
    void note(int error) {
        if (error_ == 0) error_ = error;
    }

    posix_spawn_file_actions_t actions_{};
    int error_ = 0;
};

/// Appends what can be had; false at the end.
bool read_more(int fd, std::string& output, const Command& command) {
    std::array<char, 4096> buffer{};
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno != EINTR) require(errno, command, "read output");
    if (count > 0) output.append(buffer.data(), static_cast<std::size_t>(count));
    return count != 0;
}

} // namespace

ProgramResult run_program(const Command& command, const std::filesystem::path& directory) {
    Pipe out = make_pipe(command);
    Preparation preparation;
    preparation.open_nothing(STDIN_FILENO);
    preparation.connect(out.write.get(), STDOUT_FILENO);
    preparation.connect(out.write.get(), STDERR_FILENO);
    if (!directory.empty()) preparation.enter(directory);
    const pid_t pid = preparation.spawn(command);
    out.write = {};
    ProgramResult result{0, {}};
    while (read_more(out.read.get(), result.output, command)) {
    }
    int status = 0;
    require(::waitpid(pid, &status, 0) == pid ? 0 : errno, command, "wait");
    if (!WIFEXITED(status)) fail(command, "ended by signal " + std::to_string(WTERMSIG(status)) + "\n" + result.output);
    result.status = WEXITSTATUS(status);
    return result;
}

std::string must_run(const Command& command, const std::filesystem::path& directory) {
    ProgramResult result = run_program(command, directory);
    if (result.status != 0) fail(command, "exit status " + std::to_string(result.status) + "\n" + result.output);
    return std::move(result.output);
}

RunningProgram::RunningProgram(Command command) : command_{std::move(command)} {
    Pipe in = make_pipe(command_);
    Pipe out = make_pipe(command_);
    Preparation preparation;
    preparation.connect(in.read.get(), STDIN_FILENO);
    preparation.connect(out.write.get(), STDOUT_FILENO);
    preparation.connect(out.write.get(), STDERR_FILENO);
    pid_ = preparation.spawn(command_);
    input_ = std::move(in.write);
    output_ = std::move(out.read);
}

RunningProgram::~RunningProgram() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

void RunningProgram::wait_for_output(std::string_view text) {
    for (;;) {
        if (const auto found = unread_.find(text); found != std::string::npos) {
            unread_.erase(0, found + text.size());
            return;
        }
        if (!read_more(output_.get(), unread_, command_))
            fail(command_, "has ended without writing \"" + std::string{text} + "\"\n" + unread_);
    }
}

} // namespace coppice::test
