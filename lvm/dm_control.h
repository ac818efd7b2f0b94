// Device-mapper asked by the kernel's own interface, which needs no program: a tenth of a millisecond in place of tens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coppice::lvm {

struct DmRow {
    std::string name;
    std::string uuid;
    std::uint64_t open_count = 0;
    bool suspended = false;
    bool read_only = false;

    bool operator==(const DmRow&) const = default;
};

/// All devices of this host, by name. `control`: device-mapper's node, usually /dev/mapper/control. nullopt where it
/// cannot be asked this way. Throws SystemError where it fails half-way.
std::optional<std::vector<DmRow>> devices_by_control(const std::string& control);

} // namespace coppice::lvm
