// How time passes for the program: what the clock on the wall says, and how long a wait really takes.
//
// In builds with COPPICE_FAULTS a test may let it pass faster: with COPPICE_TEST_TIME_FACTOR=FACTOR@START in the
// environment (a number of 1 or more, and seconds since 1970-01-01) FACTOR seconds go by in each real one from START
// on. START is there so that processes which work together, and those that come after each other, see the same time.
// Elsewhere these two functions are the host's clock and nothing else. Not meant for the times of files, which the
// kernel makes, nor for what bounds real work (limits of rate, time-outs of a peer, how long a lock is held).
#pragma once

#include <chrono>
#include <cstdint>

namespace coppice {

/// Seconds since 1970-01-01.
std::int64_t unix_time();

#ifdef COPPICE_FAULTS
/// How long to wait in reality until `wait` has passed.
std::chrono::steady_clock::duration real_wait(std::chrono::milliseconds wait);
#else
inline std::chrono::steady_clock::duration real_wait(std::chrono::milliseconds wait) {
    return wait;
}
#endif

} // namespace coppice
