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

    /// What a claim keeps out, and what it tells others.
    enum class Purpose {
        /// Everybody, even who only asks for the size: the header may change.
        write,
        /// Everybody who reads or writes; who only looks at the header may do so, as sm does when it counts a chain.
        pour_alone,
        /// Writers only: newer images mask what changes, so that readers of those may come.
        pour_below,
        /// Writers only. The image is not changed, and others who read it are welcome.
        read
    };
    /// Takes the image locks that QEMU's programs honour. Throws Busy naming the holder where somebody else has the
    /// image in use: for all but Purpose::read also a reader. The device must outlive the claim.
    virtual std::unique_ptr<Claim> claim(BlockDevice& device, Purpose purpose) = 0;

    /// Whoever holds a lock that forbids changing the image; asked without taking any lock, so that nobody is
    /// disturbed.
    virtual std::optional<Opener> lock_holder(const BlockDevice& device) = 0;

    /// Processes other than this one that have one of the images open; of each image, in the order given.
    /// Throws SystemError where the host cannot be looked through.
    virtual std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) = 0;
};

} // namespace coppice
