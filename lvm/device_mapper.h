// What device-mapper has: whether an LV is active, open, suspended is asked here, not of LVM.
#pragma once

#include "lvm/tool.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace coppice::lvm {

struct DmRow {
    std::string name;
    std::string uuid;
    std::uint64_t open_count = 0;
    bool suspended = false;
    bool read_only = false;
};

class DeviceMapper {
public:
    explicit DeviceMapper(Tool& tool) : tool_{tool} {}

    /// All devices of this host, by name. Throws CommandFailed, BadReport.
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
