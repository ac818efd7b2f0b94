#include "coalesce/rate_limit.h"

#include "format/base/error.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace coppice {

void RateLimit::spend(Bytes bytes, std::stop_token stop) {
    if (!per_second_ || per_second_->count() == 0) return;
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> cost{static_cast<double>(bytes.count()) /
                                             static_cast<double>(per_second_->count())};
    free_at_ = std::max(free_at_, now) + std::chrono::duration_cast<std::chrono::steady_clock::duration>(cost);
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock{mutex};
    // In slices: whoever watches over the thread sees that it lives.
    while (!stop.stop_requested() && std::chrono::steady_clock::now() < free_at_)
        wake.wait_until(lock, stop, std::min(free_at_, std::chrono::steady_clock::now() + std::chrono::seconds{1}),
                        [] { return false; });
    if (stop.stop_requested()) throw StopRequested{};
}

} // namespace coppice
