// All headers of one VHD as opening reads them, and the places that they occupy.
#pragma once

#include "format/vhd/bat.h"
#include "format/vhd/batmap.h"
#include "format/vhd/footers.h"
#include "format/vhd/header.h"
#include "format/vhd/layout.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice::vhd {

struct Headers {
    Footers footers;
    Footer footer;                       ///< the one that counts
    std::optional<DynamicHeader> header; ///< unset for a fixed disk, like `layout`
    std::optional<Layout> layout;

    bool fixed() const { return !header; }
};

/// Throws CorruptImage or Unsupported with the reason.
Headers read_headers(const BlockDevice& device);

/// Header at the footer's data offset; `problem` where it lies outside the file.
UnpackedHeader read_header(const BlockDevice& device, const Footers& footers, const Footer& footer);

/// One slot of the header with its text as it stands in the file.
struct LocatorText {
    std::size_t slot;
    std::uint32_t code;
    ByteRange place;                 ///< offset and space; empty where they make no sense
    std::optional<std::string> path; ///< decoded, for MacX, W2ku, W2ru
    std::string problem;             ///< why there is no path although there should be one
};
std::vector<LocatorText> read_locators(const BlockDevice& device, const Footers& footers, const DynamicHeader& header);

/// The largest end among header, table, batmap and locators. Locators that leave a device of this size do not count.
Bytes metadata_end(const Layout& layout, const std::optional<Batmap>& batmap, const DynamicHeader& header,
                   Bytes device_size);
/// Whether the room of every locator in use lies inside a device of this size.
bool locators_inside(const DynamicHeader& header, Bytes device_size);
/// Where the primary footer belongs in a file: behind metadata and blocks.
Bytes data_end(const Layout& layout, const Bat& bat, Bytes metadata_end);

} // namespace coppice::vhd
