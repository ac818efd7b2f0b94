// Programs of others, run by tests: from argument vectors, never through a shell. A program that is missing fails the
// test that needs it.
#pragma once

#include "format/base/unique_fd.h"

#include <filesystem>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace coppice::test {

using Command = std::vector<std::string>; ///< program, found in PATH, and its arguments

struct ProgramResult {
    int status;         ///< as the program exited
    std::string output; ///< standard output and standard error
};

/// Runs to the end in `directory` (empty: the current one), with an empty standard input. Throws std::runtime_error
/// naming the command where it cannot be started or a signal ends it.
ProgramResult run_program(const Command& command, const std::filesystem::path& directory = {});

/// The output of a program that has to succeed. Throws std::runtime_error with command and output where its status is
/// not 0.
std::string must_run(const Command& command, const std::filesystem::path& directory = {});

/// A program that goes on, with an open standard input, until the object is destroyed.
class RunningProgram {
public:
    /// Throws std::runtime_error naming the command where it cannot be started.
    explicit RunningProgram(Command command);
    RunningProgram(const RunningProgram&) = delete;
    RunningProgram& operator=(const RunningProgram&) = delete;
    ~RunningProgram();

    pid_t pid() const { return pid_; }
    /// Returns when it has written `text`, to standard output or standard error, after what was waited for before.
    /// Throws std::runtime_error with command and output where it ends without.
    void wait_for_output(std::string_view text);

private:
    Command command_;
    pid_t pid_ = 0;
    UniqueFd input_;
    UniqueFd output_;
    std::string unread_; ///< written and not waited for yet
};

} // namespace coppice::test
