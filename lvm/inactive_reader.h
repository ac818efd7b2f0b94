// Reads LVs that are not active straight from their PVs: nothing is activated, nothing is written, and a scan of
// thousands costs three commands.
//
// What was read counts only if finish() has returned: until then another LV may have come to lie where this one was.
// Used by one thread at a time.
#pragma once

#include "lvm/device_mapper.h"
#include "lvm/extent_device.h"
#include "lvm/pv_device.h"
#include "lvm/volume_group.h"

#include <set>

namespace coppice::lvm {

class InactiveReader {
public:
    /// Reports the group.
    InactiveReader(VolumeGroup& group, DeviceMapper& devices, PvOpener opener = open_pv);
    /// With a report of before. Throws GroupChanged where the group has changed since.
    InactiveReader(VolumeGroup& group, DeviceMapper& devices, VgReport report, PvOpener opener = open_pv);

    const VgReport& report() const { return report_; }
    /// Whether it was active on this host at the beginning; then it is read through its own device.
    bool is_active(const LvRow& lv) const;
    /// The device may outlive the reader. Throws NotFound, Busy (active), Unsupported (not linear, on a missing PV),
    /// GroupChanged (a PV is another one now), SystemError.
    std::unique_ptr<BlockDevice> open(const std::string& lv);
    /// Whether all that was read until now was what the report says: throws GroupChanged where it may not have been.
    /// Returns the LVs that were opened here and have become active since: somebody may be writing to them.
    std::vector<std::string> finish();

private:
    std::set<std::string> active_uuids() const;
    void require_same() const;
    void need_pv(std::size_t index);

    VolumeGroup& group_;
    DeviceMapper& devices_;
    PvOpener opener_;
    VgReport report_;
    std::set<std::string> active_; ///< UUIDs of devices
    PvDevices pvs_;                ///< as many as are needed
    std::set<std::string> opened_; ///< LVs
};

} // namespace coppice::lvm
