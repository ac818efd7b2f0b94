// The seam to whoever else may use an image: processes of this host, and locks that programs put on files.
#pragma once

#include "coalesce/sr_tree.h"
#include "format/base/block_device.h"

#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace coppice {

/// Keeps other programs out of one image as far as their locks allow, until it is destroyed.
class Claim {
public:
    virtual ~Claim() = default;
};

class Occupancy {
public:
    virtual ~Occupancy() = default;

    /// Takes the image locks that QEMU's programs honour: for writing, or only against writers. Throws Busy naming the
    /// holder where somebody else has the image in use. The device must outlive the claim.
    enum class Purpose { write, read };
    virtual std::unique_ptr<Claim> claim(BlockDevice& device, Purpose purpose) = 0;

    /// Whoever holds a lock that forbids changing the image; asked without taking any lock, so that nobody is
    /// disturbed.
    virtual std::optional<Opener> lock_holder(const BlockDevice& device) = 0;

    /// Processes other than this one that have one of the images open; of each image, in the order given.
    /// Throws SystemError where the host cannot be looked through.
    virtual std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) = 0;
};

} // namespace coppice
