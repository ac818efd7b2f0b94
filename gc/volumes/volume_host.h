// The parts of the LVM layer for one SR of this host, wired to sm's locks.
#pragma once

#include "gc/sm/sm_locks.h"
#include "lvm/activation.h"
#include "lvm/fair_lock.h"
#include "lvm/inactive_reader.h"
#include "lvm/process_runner.h"

#include <chrono>
#include <memory>
#include <string>

namespace coppice {

/// sm's lock files as the LVM layer takes them. Where the host has no sm nothing is held.
class SmNamedLocks final : public lvm::NamedLocks {
public:
    SmNamedLocks(const SmLocks& locks, std::chrono::milliseconds patience) : locks_{locks}, patience_{patience} {}
    std::unique_ptr<lvm::HeldLock> take(const std::string& space, const std::string& name) override;

private:
    const SmLocks& locks_;
    std::chrono::milliseconds patience_;
};

/// One object is used by one thread at a time.
class VolumeHost {
public:
    /// `sr_uuid` names locks and reference counts; empty for a group that is no SR of sm. `run_dir` holds the claims on
    /// volumes that are active because of us. `discards`: see lvm::Host.
    VolumeHost(const std::string& group, const std::string& sr_uuid, const std::string& run_dir, bool discards = false);
    VolumeHost(const VolumeHost&) = delete;
    VolumeHost& operator=(const VolumeHost&) = delete;

    lvm::VolumeGroup& group() { return group_; }
    lvm::DeviceMapper& devices() { return devices_; }
    lvm::Activator& activator() { return activator_; }
    /// Path of a volume's node.
    std::string node(const std::string& volume) const;
    /// Path of the node of a device by its own name.
    std::string mapper_node(const std::string& device) const;

private:
    lvm::ProcessRunner runner_;
    lvm::FairLock fair_lock_;
    lvm::Tool tool_;
    lvm::VolumeGroup group_;
    lvm::DeviceMapper devices_;
    SmLocks sm_locks_;
    SmNamedLocks locks_;
    lvm::Activator activator_;
};

/// Whether a PV may be used by other hosts, too: iSCSI, Fibre Channel, NBD and multipath devices. What is not known to
/// be local is taken for shared. Throws SystemError where that cannot be seen.
bool other_hosts_may_use(const lvm::VgReport& report, const std::string& sys = "/sys");

} // namespace coppice
