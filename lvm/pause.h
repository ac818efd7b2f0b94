// The time between attempts, passed in so that tests do not wait.
#pragma once

#include <chrono>
#include <functional>

namespace coppice::lvm {

using Pause = std::function<void(std::chrono::milliseconds)>;

/// Really waits.
Pause real_pause();

/// As sm retries LVM commands. Source: sm 3.2.12, lvutil.py: 10 attempts, a second apart.
inline constexpr int attempts = 10;
inline constexpr std::chrono::milliseconds between_attempts{1000};

} // namespace coppice::lvm
