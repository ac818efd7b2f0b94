// Small images of every format, made byte by byte for tests that care about trees rather than about formats.
#pragma once

#include "format/image.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice::test {

inline constexpr Bytes page_size = 4_KiB;

struct ImageSpec {
    Format format = Format::vhd;
    bool hidden = false;
    Bytes size = 4_MiB;
    std::string parent; ///< name to record; empty for a root
    Format parent_format = Format::vhd;
    bool record_parent_format = true;    ///< QCOW2 only
    std::optional<Uuid> parent_uuid;     ///< VHD only
    std::vector<std::string> locators;   ///< VHD only: names to record in locators instead of `parent`
    Uuid uuid;                           ///< VHD only
    std::map<std::uint64_t, char> pages; ///< pages of 4 KiB that the image maps, filled with a letter
};

/// VHD with batmap and 2 MiB blocks, QCOW2 of version 3 with 4 KiB clusters, or raw.
std::vector<std::byte> image_bytes(const ImageSpec& spec);

/// A UUID whose bytes are all `digit`.
Uuid uuid_of(unsigned digit);

} // namespace coppice::test
