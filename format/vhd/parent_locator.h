// The texts by which a VHD names its parent, in the encodings of its platforms.
//
// Encodings of hostile bytes never throw: what cannot be decoded is nullopt.
#pragma once

#include "format/base/units.h"
#include "format/vhd/disk_layout.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::vhd {

namespace platform {
inline constexpr std::uint32_t none = 0;
inline constexpr std::uint32_t wi2r = 0x57693272;
inline constexpr std::uint32_t wi2k = 0x5769326B;
inline constexpr std::uint32_t w2ru = 0x57327275;
inline constexpr std::uint32_t w2ku = 0x57326B75;
inline constexpr std::uint32_t mac = 0x4D616320;
inline constexpr std::uint32_t macx = 0x4D616358;

bool is_known(std::uint32_t code);
/// The ones that readers look at: MacX, W2ku, W2ru.
bool is_read(std::uint32_t code);
} // namespace platform

/// Longer texts are not names of files.
inline constexpr Bytes longest_locator = 64_KiB;

/// Room for the text. The published format counts sectors, blktap bytes: below 512 it must be the former. nullopt for a
/// value that is neither.
std::optional<Bytes> locator_space(const disk::ParentLocator& locator);

/// The path in UTF-8 with forward slashes, without "file://" and drive letter.
std::optional<std::string> decode_locator(std::uint32_t code, std::span<const std::byte> text);
/// `path` relative to the child's directory ("./name") or absolute. Throws Unsupported where it is not UTF-8.
std::vector<std::byte> encode_locator(std::uint32_t code, std::string_view path);
/// How a locator writes `name`: a bare name becomes "./name".
std::string locator_path(std::string_view name);

/// The parent name of the dynamic header. Empty where there is none, nullopt where it cannot be decoded.
std::optional<std::string> decode_parent_name(std::span<const std::byte> utf16_big_endian);
/// Throws Unsupported where it does not fit into 512 bytes.
std::array<std::byte, 512> encode_parent_name(std::string_view name);

/// The part behind the last slash.
std::string_view base_name(std::string_view path);

} // namespace coppice::vhd
