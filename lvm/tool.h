// Runs the commands of LVM and device-mapper: each under the command lock, in a clean environment, with the
// configuration that its kind needs. Whether a command failed is told by its exit status alone. Used by one thread at a
// time.
#pragma once

#include "lvm/command.h"
#include "lvm/host.h"
#include "lvm/locks.h"
#include "lvm/pause.h"

namespace coppice::lvm {

class Tool {
public:
    Tool(Host host, CommandRunner& runner, CommandLock& lock, Pause pause)
        : host_{std::move(host)}, runner_{runner}, lock_{lock}, pause_{std::move(pause)} {}

    const Host& host() const { return host_; }
    /// `program` and its arguments, ready to run.
    Command reading(std::vector<std::string> words) const;
    Command changing(std::vector<std::string> words) const;

    /// Once, under the command lock; every exit status is a result. Throws Busy, CommandTimedOut, SystemError.
    CommandResult run(const Command& command) const;
    /// Has to succeed. Runs again, some times, where the metadata were being written by another host. Throws
    /// CommandFailed "attempt: object: …" besides.
    CommandResult run_to_success(const std::string& attempt, const std::string& object, const Command& command) const;
    void pause(std::chrono::milliseconds time) const { pause_(time); }

private:
    Command prepare(std::vector<std::string> words, const std::string& configuration) const;

    Host host_;
    CommandRunner& runner_;
    CommandLock& lock_;
    Pause pause_;
};

} // namespace coppice::lvm
