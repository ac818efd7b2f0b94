// An inactive LV as a device, read through its extent map.
#pragma once

#include "format/base/read_only_device.h"
#include "lvm/extent_map.h"

namespace coppice::lvm {

/// By index of the PV in the report; null where it was not needed.
using PvDevices = std::vector<std::shared_ptr<const BlockDevice>>;

/// Of the volume with this UUID, whether it is active or not. `modified_ns` is 0 where nobody can tell of changes.
FileIdentity volume_identity(std::string_view uuid, Bytes size, std::int64_t modified_ns);

class ExtentDevice final : public ReadOnlyDevice {
public:
    /// `uuid` is that of the LV. `pvs` has the device of every PV that the map names.
    ExtentDevice(std::string name, std::string uuid, ExtentMap map, PvDevices pvs);

    void read(std::span<const ReadRequest> requests) const override;
    /// By the UUID of the LV and its size; that content changes, nobody can see here.
    FileIdentity identity() const override;

private:
    std::string uuid_;
    ExtentMap map_;
    PvDevices pvs_;
};

} // namespace coppice::lvm
