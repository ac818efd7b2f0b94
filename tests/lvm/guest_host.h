// The host that tests in the VM have: real LVM on two disks, sm's locks, and a fair lock that counts its turns.
#pragma once

#include "gc/sm/sm_locks.h"
#include "lvm/activation.h"
#include "lvm/fair_lock.h"
#include "lvm/inactive_reader.h"
#include "lvm/process_runner.h"

#include <atomic>
#include <random>
#include <thread>

namespace coppice::lvm::test {

extern std::mt19937_64 random_source; ///< its seed is printed

/// Serves the fair lock as sm's service does: one at a time.
class FairLockServer {
public:
    explicit FairLockServer(const std::string& path);
    ~FairLockServer();

    int turns() const { return turns_; }

private:
    void serve();

    UniqueFd socket_;
    std::atomic<int> turns_ = 0;
    std::thread thread_;
};

/// sm's lock files; what is held is busy at once.
class GuestLocks final : public NamedLocks {
public:
    explicit GuestLocks(const SmLocks& locks) : locks_{locks} {}
    std::unique_ptr<HeldLock> take(const std::string& space, const std::string& name) override;

private:
    const SmLocks& locks_;
};

/// Counts the commands.
class CountingRunner final : public CommandRunner {
public:
    CommandResult run(const Command& command) override {
        ++count;
        return runner_.run(command);
    }
    int count = 0;

private:
    ProcessRunner runner_;
};

inline const std::string sr = "0a1b2c3d-0000-1111-2222-333344445555";
inline const std::string group_name = "VG_XenStorage-" + sr;
inline const std::string counts_directory = "/var/run/sm/refcount";
inline const std::string fair_lock_directory = "/run/fairlock";

struct GuestHost {
    GuestHost();

    FairLockServer server{fair_lock_directory + "/devicemapper"};
    CountingRunner runner;
    FairLock fair_lock{FairLock::Place{}, runner, real_pause()};
    Tool tool;
    VolumeGroup group{tool, group_name};
    DeviceMapper devices{tool};
    SmLocks sm_locks{"/var/lock/sm"};
    GuestLocks locks{sm_locks};
    Activator activator{
        group, devices, locks, {.space = "lvm-" + sr, .counts = counts_directory, .claims = "/run/coppice-claims"}};

    /// Names of the group's active LVs' devices.
    std::vector<std::string> active() const;
};

/// Makes the group anew on both disks, empty.
void make_group();
/// Gives the group these LVs by one command; their segments may be anywhere.
void define_lvs(const std::vector<LvRow>& lvs);

} // namespace coppice::lvm::test
