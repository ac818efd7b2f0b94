// The footer of a VHD, and its copy at offset 0: what the disk is, how large, and whether it is hidden.
//
// The bytes are kept as they were read, so that fields we do not understand survive a change.
#pragma once

#include "format/base/units.h"
#include "format/base/uuid.h"
#include "format/vhd/disk_layout.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coppice::vhd {

enum class DiskType : std::uint32_t { fixed = 2, dynamic = 3, differencing = 4 };

inline constexpr Bytes footer_size{512};
/// Very old writers left the last byte away.
inline constexpr Bytes short_footer_size{511};
inline constexpr std::uint64_t no_data_offset = ~std::uint64_t{0};
/// 2000-01-01 00:00 UTC in seconds since 1970-01-01.
inline constexpr std::int64_t vhd_epoch = 946'684'800;
/// The product's limit for a virtual disk.
inline constexpr Bytes largest_virtual_size = 2040_GiB;

/// Seconds since the VHD epoch, clamped to what 32 bits can say.
std::uint32_t vhd_time(std::int64_t seconds_since_1970);

class Footer {
public:
    /// What blktap would write for a fresh disk.
    static Footer fresh(DiskType type, Bytes virtual_size, const Uuid& uuid, std::int64_t created);

    explicit Footer(const disk::Footer& raw) : raw_{raw} {}

    const disk::Footer& raw() const { return raw_; }
    std::span<const std::byte> bytes() const { return std::as_bytes(std::span{&raw_, 1}); }
    /// With the right checksum.
    std::vector<std::byte> pack() const;

    /// As stored; not every value is one of DiskType.
    std::uint32_t type_code() const { return raw_.type.value(); }
    bool is(DiskType type) const { return type_code() == static_cast<std::uint32_t>(type); }
    Bytes current_size() const { return Bytes{raw_.current_size.value()}; }
    Bytes data_offset() const { return Bytes{raw_.data_offset.value()}; }
    bool hidden() const { return raw_.hidden != std::byte{0}; }
    Uuid uuid() const { return {raw_.uuid}; }
    /// The cookie of an interrupted journaled resize: readable, but not to be used for I/O.
    bool poisoned() const;
    bool made_by_tap() const;
    std::uint32_t creator_version() const { return raw_.creator_version.value(); }
    /// tap 0.1 and 1.1 set the hidden flag without mending the checksum.
    bool made_by_old_tap() const;

    Footer with_hidden(bool hidden) const;
    Footer with_type(DiskType type) const;
    /// Also sets the geometry that belongs to the size.
    Footer with_size(Bytes virtual_size) const;

    bool operator==(const Footer& other) const;

private:
    disk::Footer raw_;
};

/// A footer, or why the bytes are none.
struct UnpackedFooter {
    std::optional<Footer> footer;
    std::string problem;
};

/// `bytes` has 512 bytes, or 511 (the missing one counts as zero). Cookie and checksum are verified, nothing else.
UnpackedFooter unpack_footer(std::span<const std::byte> bytes);

/// The published CHS rule, packed as the footer stores it.
std::uint32_t geometry_of(Bytes virtual_size);

} // namespace coppice::vhd
