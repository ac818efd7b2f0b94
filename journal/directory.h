// The directory in which a journal stands: made, flushed, and locked while a journal is opened or set aside.
#pragma once

#include "format/base/unique_fd.h"

#include <filesystem>

namespace coppice::journal {

/// Makes `path` and what is missing above it, private to root: names of VDIs and paths of the host are nobody else's
/// business.
void make_directories(const std::filesystem::path& path);

/// Makes changes of names in it durable. Throws SystemError.
void flush_directory(const std::filesystem::path& directory);

/// Of all threads and processes, one at a time makes, migrates, recovers or sets aside the journal in `directory`. An
/// flock of the directory: it needs no file of its own, and does not meet SQLite's locks, which are fcntl's.
class OpeningLock {
public:
    /// Waits so long, then throws Busy.
    OpeningLock(const std::filesystem::path& directory, int timeout_ms);

private:
    UniqueFd directory_;
};

} // namespace coppice::journal
