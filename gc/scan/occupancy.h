// Who uses an image on this host: the processes that have it open, and the locks on it.
#pragma once

#include "coalesce/occupancy.h"
#include "gc/scan/image_locks.h"

#include <string>

namespace coppice {

class HostOccupancy final : public Occupancy {
public:
    /// In tests the directories stand in for /proc and /sys, and `pause` for sleeping while a lock is held that may be
    /// given back in a moment.
    explicit HostOccupancy(std::string proc = "/proc", std::string sys = "/sys", Sleeper pause = sleep)
        : proc_{std::move(proc)}, sys_{std::move(sys)}, pause_{std::move(pause)} {}

    std::unique_ptr<Claim> claim(BlockDevice& device, Purpose purpose) override;
    std::optional<Opener> lock_holder(const BlockDevice& device) override;
    /// Loop devices count too, with pid 0: the kernel holds their files, no process does.
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override;

private:
    static void sleep(std::chrono::milliseconds length);

    std::string proc_;
    std::string sys_;
    Sleeper pause_;
};

/// As in /proc/PID/comm; empty where there is no such process.
std::string process_name(int pid, const std::string& proc = "/proc");

} // namespace coppice
