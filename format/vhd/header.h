// The dynamic header of a VHD: where its block table is, how large its blocks are, and who its parent is.
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

inline constexpr Bytes header_size{1024};
inline constexpr Bytes usual_block_size = 2_MiB;

class DynamicHeader {
public:
    static DynamicHeader fresh(Bytes table_offset, std::uint32_t table_entries, Bytes block_size);

    explicit DynamicHeader(const disk::DynamicHeader& raw) : raw_{raw} {}

    const disk::DynamicHeader& raw() const { return raw_; }
    std::span<const std::byte> bytes() const { return std::as_bytes(std::span{&raw_, 1}); }
    /// With the right checksum.
    std::vector<std::byte> pack() const;

    Bytes table_offset() const { return Bytes{raw_.table_offset.value()}; }
    std::uint32_t table_entries() const { return raw_.table_entries.value(); }
    Bytes block_size() const { return Bytes{raw_.block_size.value()}; }
    Uuid parent_uuid() const { return {raw_.parent_uuid}; }

    /// For changes; pack() mends the checksum.
    disk::DynamicHeader& editable() { return raw_; }

private:
    disk::DynamicHeader raw_;
};

struct UnpackedHeader {
    std::optional<DynamicHeader> header;
    std::string problem; ///< why there is none
    std::string code;    ///< the same as the code of a finding
};

/// `bytes` has 1024 bytes. What unpack accepts has a right cookie, checksum and version, a block size that is a power
/// of two of at least a sector, and only known locator codes with a sensible space.
UnpackedHeader unpack_header(std::span<const std::byte> bytes);

} // namespace coppice::vhd
