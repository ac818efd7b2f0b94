// The byte locks by which QEMU's programs tell each other what they do with an image, and classic record locks.
//
// QEMU takes open-file-description read locks on single bytes: 100+i says "I use permission i", 200+i "I do not share
// permission i", where i is 0 consistent read, 1 write, 2 write unchanged, 3 resize, 4 graph modification. They are
// advisory, belong to the open file, and vanish with it. Observed with QEMU 7.2; see docs/formats/qcow2.md.
#pragma once

#include "coalesce/occupancy.h"

#include <array>
#include <chrono>
#include <functional>

namespace coppice {

/// Passes some time.
using Sleeper = std::function<void(std::chrono::milliseconds)>;

/// How long a claim that found a lock waits before each further attempt, 0.3 s in all. `qemu-img info` holds
/// its locks for a moment only, and who looks at images on a schedule would otherwise make steps fail on ours. Waiting
/// in the kernel (F_OFD_SETLKW) has no limit of time, and waits for one range while we want several.
constexpr std::array<std::chrono::milliseconds, 5> claim_pauses{
    std::chrono::milliseconds{10}, std::chrono::milliseconds{20}, std::chrono::milliseconds{40},
    std::chrono::milliseconds{80}, std::chrono::milliseconds{150}};

/// Tests, takes, and tests again, so that of two that come at once at least one gives way; where somebody holds a lock,
/// once more after each of `claim_pauses`. Throws Busy naming the holder where it can be told, SystemError where the
/// kernel cannot be asked. Where the file system knows no locks, or the device has no descriptor, the claim is empty.
std::unique_ptr<Claim> lock_image(const BlockDevice& device, Occupancy::Purpose purpose, Occupancy& host,
                                  const Sleeper& pause);

/// Whoever holds a lock that forbids changing the image, without taking one.
std::optional<Opener> image_lock_holder(const BlockDevice& device, Occupancy& host);

} // namespace coppice
