// Turns SIGINT, SIGTERM and SIGHUP into a request to stop, which work looks at between two short steps.
//
// Made before any thread is started, because signals are blocked for all threads that come after. A second signal ends
// the program at once, which is safe as well, only less polite to whoever reads the output.
#pragma once

#include "format/base/unique_fd.h"

#include <csignal>
#include <stop_token>
#include <thread>

namespace coppice {

class StopSignals {
public:
    /// Throws SystemError.
    StopSignals();
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    std::stop_token token() const { return source_.get_token(); }

private:
    void watch();

    std::stop_source source_;
    sigset_t former_{};
    UniqueFd signals_;
    UniqueFd wake_;
    std::thread watcher_;
};

} // namespace coppice
