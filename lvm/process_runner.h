// Runs programs: posix_spawn, nothing inherited but the three or four descriptors it is given, standard input empty,
// signals as if nobody had touched them, a process group of its own so that a Ctrl-C for us does not kill a command
// that changes metadata. One object is used by one thread at a time.
#pragma once

#include "lvm/command.h"

#include <sys/types.h>

namespace coppice::lvm {

class ProcessRunner final : public CommandRunner {
public:
    /// What of a stream is kept; more is read and dropped.
    explicit ProcessRunner(std::size_t kept = std::size_t{64} << 20) : kept_{kept} {}

    CommandResult run(const Command& command) override;

private:
    void reap_left_behind();

    std::size_t kept_;
    std::vector<pid_t> left_behind_; ///< killed, but still busy in the kernel when we gave up on them
};

} // namespace coppice::lvm
