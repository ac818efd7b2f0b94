// Requests in flight for kernels and containers without io_uring: a few threads, each with one of them.
#pragma once

#include "format/base/io_queue.h"

namespace coppice {

std::unique_ptr<IoQueue> open_thread_queue();

} // namespace coppice
