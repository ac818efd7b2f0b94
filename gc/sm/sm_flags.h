// The flags and run files by which sm and its collector talk: the request to end, and the news of a merge.
//
// Source: sm 3.2.12, ipc.py and cleanup.py.
#pragma once

#include "coalesce/sr_gate.h"
#include "format/base/unique_fd.h"

#include <functional>
#include <stop_token>
#include <string>
#include <thread>

namespace coppice {

/// Whether sm asks its collector to end: `<flags of the SR>/abort` exists. Whoever asks waits for `gc_active` for at
/// most a minute, and detaching the SR fails otherwise. A flag whose writer is dead is nobody's: it is removed, or the
/// next soft request, which leaves an existing flag alone, would not be heard.
bool abort_requested(const std::string& flags_of_sr);

/// Passes on a stop from the caller and sm's request to end, from the moment it is made; one that stands already before
/// the constructor ends. Sleeps in between: the directory, or what exists of the way to it, is watched with inotify.
/// Where the host has no watch left to give, the flag is looked for twice a second.
class AbortWatch {
public:
    /// Without a directory (empty) only the caller's stop is passed on. Throws SystemError.
    AbortWatch(std::string flags_of_sr, std::stop_token outer);
    ~AbortWatch();
    AbortWatch(const AbortWatch&) = delete;
    AbortWatch& operator=(const AbortWatch&) = delete;

    std::stop_token token() const { return source_.get_token(); }

private:
    bool pass_on();
    void watch();
    bool arm();

    std::string directory_;
    std::stop_source source_;
    UniqueFd inotify_;
    UniqueFd wake_;
    std::stop_callback<std::function<void()>> passed_on_;
    std::thread watcher_; ///< last: it uses all others
};

/// `<run files of the SR>/gc_running_<VDI>` holding "1", until it is destroyed. sm empties it to have the merge end,
/// and then waits without limit until it is gone.
class RunningFile final : public SrGate::Announcement {
public:
    /// Throws SystemError.
    RunningFile(const std::string& run_files_of_sr, const std::string& vdi);
    ~RunningFile() override;
    RunningFile(const RunningFile&) = delete;
    RunningFile& operator=(const RunningFile&) = delete;

    bool stop_wanted() const override;

private:
    std::string path_;
};

/// Removes the files of merges that ended without doing so. Only for whoever holds `gc_active`.
void remove_running_files(const std::string& run_files_of_sr);

} // namespace coppice
