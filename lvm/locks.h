// The locks that this layer needs and others implement or replace: sm's lock files, and the lock around each command.
//
// Order, outermost first: sm's SR lock (the caller's) → lvm-<SR>/lvchange-p or lvm-<SR>/<VDI> → the command lock. The
// command lock is held for one command and nothing is waited for below it. Source: sm 3.2.12, as spelled in its
// lvmcache.
#pragma once

#include <memory>
#include <string>

namespace coppice::lvm {

/// A lock is held as long as this lives.
class HeldLock {
public:
    virtual ~HeldLock() = default;
};

/// sm's lock files: /var/lock/sm/<space>/<name>.
class NamedLocks {
public:
    virtual ~NamedLocks() = default;
    /// Waits for a limited time. Throws Busy with the holder, SystemError.
    virtual std::unique_ptr<HeldLock> take(const std::string& space, const std::string& name) = 0;
};

/// Serializes all LVM and device-mapper commands of a host.
class CommandLock {
public:
    virtual ~CommandLock() = default;
    /// Waits for a limited time. Throws Busy, SystemError.
    virtual std::unique_ptr<HeldLock> take() = 0;
};

} // namespace coppice::lvm
