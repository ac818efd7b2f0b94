// Who uses a volume of an LVM SR on this host.
#pragma once

#include "gc/scan/occupancy.h"
#include "gc/volumes/volume_storage.h"

namespace coppice {

/// Images are known by the UUIDs of their volumes; the host knows devices. A volume that is not active is used by
/// nobody here.
class VolumeOccupancy final : public Occupancy {
public:
    explicit VolumeOccupancy(VolumeStorage& storage) : storage_{storage} {}

    std::unique_ptr<Claim> claim(BlockDevice& device, Purpose purpose) override { return host_.claim(device, purpose); }
    std::optional<Opener> lock_holder(const BlockDevice& device) override { return host_.lock_holder(device); }
    /// The kernel counts too, with pid 0: a device on top, or a back-end in the kernel, has no process.
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override;

private:
    VolumeStorage& storage_;
    HostOccupancy host_;
};

} // namespace coppice
