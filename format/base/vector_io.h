// preadv and pwritev until everything is done, and what is said when that does not work out.
#pragma once

#include "format/base/units.h"

#include <span>
#include <string>
#include <sys/uio.h>

namespace coppice {

/// How far a request came. Complete when `error` is 0 and it has not `ended`.
struct IoOutcome {
    int error = 0;      ///< errno
    bool ended = false; ///< the file ended in the middle of a read
    Bytes done;
};

/// Bytes that stand one behind the other in the file, from `offset` on. The entries of `parts` are used up.
IoOutcome read_all(int fd, Bytes offset, std::span<iovec> parts);
IoOutcome write_all(int fd, Bytes offset, std::span<iovec> parts);

/// Takes `count` bytes off the front of `parts`, empty ones with them.
void consume(std::span<iovec>& parts, std::size_t count);

/// The kernel takes no longer vectors (UIO_MAXIOV).
inline constexpr std::size_t most_parts = 1024;

/// Throws SystemError unless the outcome is complete.
void require_read(const IoOutcome& outcome, Bytes offset, const std::string& name);
void require_written(const IoOutcome& outcome, Bytes offset, const std::string& name);

} // namespace coppice
