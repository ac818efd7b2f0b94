// The lock files of sm: /var/lock/sm/<namespace>/<name>, exclusive record locks on the whole file.
//
// Ours are open-file-description locks: they exclude sm's and are excluded by them, but are not lost when another
// descriptor of the file is closed. Nothing here ever waits: sm takes `vdi` before `sr` in some places and `sr` before
// `vdi` in others, which only goes well as long as one side merely tries. sm removes lock files of deleted VDIs while
// they are held or waited for, so a lock counts only if the name still leads to the file that was locked.
// Source: sm 3.2.12, lock.py.
#pragma once

#include "format/base/unique_fd.h"

#include <functional>
#include <optional>
#include <string>

namespace coppice {

/// Where sm keeps what it shares with its collector.
struct SmDirectories {
    std::string locks = "/var/lock/sm";
    std::string flags = "/var/run/sm/ipc";
    std::string run_files = "/run/nonpersistent/sm";

    /// The places above; in builds with COPPICE_FAULTS those below COPPICE_TEST_SM_ROOT, where that is set.
    static SmDirectories of_this_host();
};

class SmLocks;

/// A lock that is held as long as this lives.
class SmLock {
public:
    SmLock(SmLock&& other) noexcept;
    SmLock& operator=(SmLock&&) = delete;
    ~SmLock();

    /// Somebody waits for it in the kernel, or its file was removed, so that the next one does not see us at all.
    bool is_wanted() const;

private:
    friend class SmLocks;
    SmLock(const SmLocks& locks, std::string space, std::string name, UniqueFd file);

    const SmLocks* locks_; ///< null when moved from
    std::string space_;
    std::string name_;
    UniqueFd file_;
};

class SmLocks {
public:
    /// Told of every lock that is taken and given back; for tests of the order.
    enum class Event { taken, released };
    using Observer = std::function<void(Event, const std::string& space, const std::string& name)>;

    /// Whether somebody waits in the kernel for a lock on an open file; tests have other ways to know.
    using Waiters = std::function<bool(int file)>;

    explicit SmLocks(std::string root, Observer observer = {}, Waiters waiters = {})
        : root_{std::move(root)}, observer_{std::move(observer)}, waiters_{std::move(waiters)} {}

    /// Whether this host has sm at all.
    bool present() const;
    /// nullopt where somebody else holds it. Makes the file and its directory as sm does. Throws SystemError.
    std::optional<SmLock> try_take(const std::string& space, const std::string& name) const;
    /// Whoever holds the lock, for people.
    std::string holder(const std::string& space, const std::string& name) const;

private:
    friend class SmLock;
    std::string path(const std::string& space, const std::string& name) const;
    UniqueFd open_file(const std::string& space, const std::string& name) const;
    bool names(const std::string& path, int file) const;

    std::string root_;
    Observer observer_;
    Waiters waiters_;
};

/// Whether a process waits in the kernel for a record lock on this open file.
bool has_lock_waiters(int file, const std::string& proc_locks = "/proc/locks");

/// "NAME, pid PID" of whoever holds a record lock that excludes ours on this open file.
std::string record_lock_holder(int file);

} // namespace coppice
