// The seam to other programs: an argument vector goes in, what the program said comes out. No shell is ever involved.
// Tests replace the runner to script answers and failures.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace coppice::lvm {

struct Command {
    enum class Kind {
        reads,  ///< may be killed at any time without harm
        changes ///< is never killed: an LVM command that dies half-way may leave a device suspended or with a wrong
                ///< table
    };

    std::vector<std::string> arguments;   ///< the first is the path of the program
    std::vector<std::string> environment; ///< "NAME=value"; the program sees nothing else
    Kind kind = Kind::reads;
    /// What reads is killed behind it; for what changes, it is only said that it takes long.
    std::chrono::milliseconds limit{};
    /// The program gets descriptor 3 for a report of its own: LVM writes messages into the middle of standard output.
    bool has_report = false;

    /// For messages: program and arguments.
    std::string text() const;
    /// The name of the program without its directory.
    std::string program() const;
};

struct CommandResult {
    int status = 0;     ///< as the program exited; 128 + the signal that ended it
    std::string output; ///< standard output
    std::string errors; ///< standard error
    std::string report; ///< descriptor 3
    bool cut = false;   ///< something of the three was longer than is kept
};

class CommandRunner {
public:
    virtual ~CommandRunner() = default;

    /// Runs to the end. Whatever the exit status, that is a result. Throws SystemError where the program cannot be
    /// started, CommandTimedOut where it read for too long.
    virtual CommandResult run(const Command& command) = 0;
};

} // namespace coppice::lvm
