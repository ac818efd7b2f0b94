#include "format/base/uuid.h"

#include <random>

namespace coppice {
namespace {

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

constexpr std::size_t text_length = 36;

bool dash_at(std::size_t index) {
    return index == 8 || index == 13 || index == 18 || index == 23;
}

} // namespace

std::string Uuid::text() const {
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string result;
    result.reserve(text_length);
    for (const std::byte byte : bytes) {
        if (dash_at(result.size())) result += '-';
        result += digits[std::to_integer<unsigned>(byte) >> 4];
        result += digits[std::to_integer<unsigned>(byte) & 15];
    }
    return result;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
    if (text.size() != text_length) return std::nullopt;
    Uuid result;
    std::size_t nibble = 0;
    for (std::size_t i = 0; i < text_length; ++i) {
        if (dash_at(i)) {
            if (text[i] != '-') return std::nullopt;
            continue;
        }
        const int value = digit(text[i]);
        if (value < 0) return std::nullopt;
        auto& byte = result.bytes[nibble / 2];
        byte = (byte << 4) | static_cast<std::byte>(value);
        ++nibble;
    }
    return result;
}

Uuid Uuid::random() {
    std::random_device source;
    Uuid result;
    for (auto& byte : result.bytes)
        byte = static_cast<std::byte>(source());
    result.bytes[6] = (result.bytes[6] & std::byte{0x0f}) | std::byte{0x40};
    result.bytes[8] = (result.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
    return result;
}

bool is_uuid(std::string_view text) {
    return Uuid::parse(text).has_value();
}

} // namespace coppice
