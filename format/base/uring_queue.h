// Requests in flight by io_uring.
#pragma once

#include "format/base/io_queue.h"

namespace coppice {

/// nullptr where the kernel has none (before 5.1), where it is forbidden (seccomp of containers,
/// kernel.io_uring_disabled), and in builds without liburing.
std::unique_ptr<IoQueue> open_uring_queue();

} // namespace coppice
