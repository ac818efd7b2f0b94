// One coppice per SR, and not beside sm's own collector.
//
// Three locks are taken, in this order and without waiting: the lock file below the run directory, which tells whoever
// comes second who works; the directory itself, for a coppice with another run directory; and `gc_active` of sm where
// this host has sm, which keeps its collector out while this lives and is how sm finds out that somebody collects. All
// are released by the kernel when the process ends.
#pragma once

#include "format/base/unique_fd.h"

#include <string>

namespace coppice {

class SrLock {
public:
    /// `key` names the lock file, `sr_uuid` is empty where the SR is no SR of sm; `verb` is told to whoever comes
    /// second. `sm_locks` stands for /var/lock/sm in tests, `sm_flags` for /var/run/sm/ipc. Throws Busy naming the
    /// holder (with "sm-operation" where it is sm's collector), or SystemError.
    SrLock(const std::string& directory, const std::string& run_dir, const std::string& key, const std::string& sr_uuid,
           const std::string& verb, const std::string& sm_locks = "/var/lock/sm",
           const std::string& sm_flags = "/var/run/sm/ipc");

    /// sm asks its collector to stop, and waits for the lock for at most a minute: detaching the SR fails otherwise.
    bool abort_requested() const;

private:
    void lock_run_file(const std::string& run_dir, const std::string& key, const std::string& verb);
    void lock_directory(const std::string& directory);
    void lock_out_sm(const std::string& sm_locks, const std::string& sr_uuid);

    UniqueFd run_file_;
    UniqueFd directory_;
    UniqueFd gc_active_;
    std::string abort_flag_;
};

} // namespace coppice
