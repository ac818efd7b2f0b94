// Where a PV keeps the metadata of its group, and the text that stands there.
//
// Source: LVM 2.03.16, lib/label/label.h and lib/format_text/layout.h; all little endian.
#pragma once

#include "format/base/block_device.h"
#include "lvm/report.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice::lvm {

/// The committed text in one area of a PV. Each commit puts the text to another place, with another checksum.
struct MetadataPlace {
    Bytes area;   ///< on the PV
    Bytes length; ///< of the area
    Bytes offset; ///< in the area; what reaches over its end goes on behind the header
    Bytes size;   ///< of the text, with the NUL at its end
    std::uint32_t checksum = 0;

    bool operator==(const MetadataPlace&) const = default;
};

/// Of all areas; none where the PV has no areas. Throws BadReport where the label is not that of `pv`, where a checksum
/// is wrong, or an area is not in use; SystemError.
std::vector<MetadataPlace> metadata_places(const BlockDevice& device, const PvRow& pv, const std::string& group);

/// Throws BadReport where it is not the one that `place` means: a new one may have been written over it; SystemError.
std::string metadata_text(const BlockDevice& device, const MetadataPlace& place, const std::string& group);

} // namespace coppice::lvm
