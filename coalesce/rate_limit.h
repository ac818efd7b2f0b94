// Keeps a merge below a number of bytes per second, and wakes up at once when a stop is asked for.
#pragma once

#include "format/base/units.h"

#include <chrono>
#include <optional>
#include <stop_token>

namespace coppice {

class RateLimit {
public:
    /// nullopt: no limit.
    explicit RateLimit(std::optional<Bytes> per_second) : per_second_{per_second} {}

    /// Waits until `bytes` more are within the limit. Throws StopRequested.
    void spend(Bytes bytes, std::stop_token stop);

private:
    std::optional<Bytes> per_second_;
    std::chrono::steady_clock::time_point free_at_{};
};

} // namespace coppice
