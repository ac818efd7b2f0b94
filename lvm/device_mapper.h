// What device-mapper has: whether an LV is active, open, suspended is asked here, not of LVM. The kernel is asked
// directly; dmsetup only where that does not work.
#pragma once

#include "lvm/dm_control.h"
#include "lvm/tool.h"

#include <string_view>

namespace coppice::lvm {

class DeviceMapper {
public:
    explicit DeviceMapper(Tool& tool) : tool_{tool} {}

    /// All devices of this host, by name. Throws CommandFailed, BadReport, SystemError.
    std::vector<DmRow> list() const;
    std::optional<DmRow> find(const std::string& name) const;
    /// Throws CommandFailed; to be asked again whether it is gone.
    void remove(const std::string& name) const;

private:
    Tool& tool_;
};

/// What `dmsetup info` wrote. Throws BadReport.
std::vector<DmRow> parse_devices(std::string_view text);

} // namespace coppice::lvm
