// One coppice per SR, and not beside sm's own collector.
//
// Three locks are taken, in this order and without waiting: the lock file below the run directory, which tells whoever
// comes second who works; the directory itself, for a coppice with another run directory; and `gc_active` of sm where
// this host has sm, which keeps its collector out while this lives and is how sm finds out that somebody collects. All
// are released by the kernel when the process ends.
#pragma once

#include "format/base/unique_fd.h"
#include "gc/sm/sm_locks.h"

#include <chrono>
#include <optional>
#include <string>

namespace coppice {

class SrLock {
public:
    /// `key` names the lock file, `sr_uuid` is empty where the SR is no SR of sm; `verb` is told to whoever comes
    /// second. `sm_locks` stands for /var/lock/sm in tests, `sm_flags` for /var/run/sm/ipc; `patience` is how long to
    /// ask for `sr`. Throws Busy naming the holder (with "sm-operation" where it is sm), or SystemError.
    SrLock(const std::string& directory, const std::string& run_dir, const std::string& key, const std::string& sr_uuid,
           const std::string& verb, const std::string& sm_locks = SmDirectories::of_this_host().locks,
           const std::string& sm_flags = SmDirectories::of_this_host().flags,
           std::chrono::milliseconds patience = std::chrono::minutes{1});

    SrLock(const SrLock&) = delete;
    SrLock& operator=(const SrLock&) = delete;

    /// sm asks its collector to stop, and waits for the lock for at most a minute: detaching the SR fails otherwise.
    bool abort_requested() const;
    /// Where sm puts its flags; empty where the SR is no SR of sm.
    const std::string& flags() const { return flags_; }
    /// Whether sm knows the SR: then names and links change behind its locks only.
    bool shared_with_sm() const { return gc_active_.has_value(); }
    const SmLocks& sm_locks() const { return sm_locks_; }
    const std::string& sr_uuid() const { return sr_uuid_; }

    /// For one stretch of work, `running` of sm, which an SR that is being attached waits for; nullopt where there is
    /// no sm. Does not wait: throws Busy("sm-operation").
    std::optional<SmLock> begin_work() const;

private:
    void lock_run_file(const std::string& run_dir, const std::string& key, const std::string& verb);
    void lock_directory(const std::string& directory);
    void lock_out_sm(std::chrono::milliseconds patience);

    UniqueFd run_file_;
    UniqueFd directory_;
    SmLocks sm_locks_;
    std::string sr_uuid_;
    std::string flags_;
    std::optional<SmLock> gc_active_;
};

} // namespace coppice
