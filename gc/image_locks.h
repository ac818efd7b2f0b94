// The byte locks by which QEMU's programs tell each other what they do with an image, and classic record locks.
//
// QEMU takes open-file-description read locks on single bytes: 100+i says "I use permission i", 200+i "I do not share
// permission i", where i is 0 consistent read, 1 write, 2 write unchanged, 3 resize, 4 graph modification. They are
// advisory, belong to the open file, and vanish with it. Observed with QEMU 7.2; see docs/formats/qcow2.md.
#pragma once

#include "coalesce/occupancy.h"

namespace coppice {

/// Tests, takes, and tests again, so that of two that come at once at least one gives way. Throws Busy naming the
/// holder where it can be told, SystemError where the kernel cannot be asked. Where the file system knows no locks, or
/// the device has no descriptor, the claim is empty.
std::unique_ptr<Claim> lock_image(const BlockDevice& device, Occupancy::Purpose purpose, Occupancy& host);

/// Whoever holds a lock that forbids changing the image, without taking one.
std::optional<Opener> image_lock_holder(const BlockDevice& device, Occupancy& host);

} // namespace coppice
