// The checksum that footers, dynamic headers and batmaps share: the one's complement of a sum of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace coppice::vhd {

/// Plain sum of all bytes.
std::uint32_t byte_sum(std::span<const std::byte> bytes);
/// The same with every byte taken as a signed number, as batmaps of version 1.1 have it.
std::uint32_t signed_byte_sum(std::span<const std::byte> bytes);

/// Of a structure whose own checksum field stands at `field`: that field counts as zero.
std::uint32_t structure_checksum(std::span<const std::byte> bytes, std::size_t field);

/// Whether the bytes are exactly the characters of `text`.
bool equals_text(std::span<const std::byte> bytes, std::string_view text);
/// Copies `text` over the bytes, which are at least as long.
void put_text(std::span<std::byte> bytes, std::string_view text);

} // namespace coppice::vhd
