// Finds the footers of a VHD and decides which of them counts.
//
// The primary is regularly invalid while a tapdisk has the image open for writing: a growing file overwrites it, and a
// resumed one kills it deliberately. The copy at offset 0 holds everything then.
#pragma once

#include "format/base/block_device.h"
#include "format/vhd/footer.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coppice::vhd {

struct Footers {
    std::optional<Footer> primary;
    std::string primary_problem;
    bool primary_short = false; ///< the 511-byte form
    Bytes primary_offset;       ///< where a valid primary stands
    std::optional<Footer> copy; ///< of a dynamic or differencing disk; a fixed one has guest data at offset 0
    std::string copy_problem;
    std::vector<std::byte> head; ///< the first bytes of the device, see head_size

    /// The one that counts: the primary, otherwise the copy; nullopt where both are invalid.
    std::optional<Footer> effective() const;
    /// First byte behind what blocks may use.
    Bytes data_limit(const BlockDevice& device) const;
    /// `length` bytes at `offset`, from `head` where they lie in it. The range is inside the device.
    std::vector<std::byte> read(const BlockDevice& device, Bytes offset, Bytes length) const;
};

/// One batch of reads gets everything that most images need to be opened.
inline constexpr Bytes head_size = 4_KiB;

/// Throws SystemError where reading fails, and never on content.
Footers read_footers(const BlockDevice& device);

} // namespace coppice::vhd
