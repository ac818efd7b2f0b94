#include "format/vhd/checksum.h"

#include <algorithm>

namespace coppice::vhd {

std::uint32_t byte_sum(std::span<const std::byte> bytes) {
    std::uint32_t sum = 0;
    for (const std::byte byte : bytes)
        sum += std::to_integer<std::uint32_t>(byte);
    return sum;
}

std::uint32_t signed_byte_sum(std::span<const std::byte> bytes) {
    std::uint32_t sum = 0;
    for (const std::byte byte : bytes)
        sum += static_cast<std::uint32_t>(static_cast<std::int32_t>(static_cast<std::int8_t>(byte)));
    return sum;
}

std::uint32_t structure_checksum(std::span<const std::byte> bytes, std::size_t field) {
    return ~(byte_sum(bytes) - byte_sum(bytes.subspan(field, sizeof(std::uint32_t))));
}

bool equals_text(std::span<const std::byte> bytes, std::string_view text) {
    return std::ranges::equal(bytes, std::as_bytes(std::span{text}));
}

void put_text(std::span<std::byte> bytes, std::string_view text) {
    std::ranges::copy(std::as_bytes(std::span{text}), bytes.begin());
}

} // namespace coppice::vhd
