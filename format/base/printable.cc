#include "format/base/printable.h"

#include <algorithm>

namespace coppice {
namespace {

/// Of a character of two or three bytes that moves more than a cursor by one place.
bool is_unsafe(std::string_view character) {
    if (character.size() == 1) return static_cast<unsigned char>(character[0]) < 0x20 || character[0] == 0x7f;
    // C1 controls: U+009B begins a command as ESC [ does.
    if (character.size() == 2) return character >= "\xc2\x80" && character <= "\xc2\x9f";
    if (character.size() != 3) return false;
    const auto within = [&](std::string_view first, std::string_view last) {
        return character >= first && character <= last;
    };
    return within("\xe2\x80\xa8", "\xe2\x80\xae") || // U+2028 to U+202E: line ends, directions
           within("\xe2\x81\xa6", "\xe2\x81\xa9") || // U+2066 to U+2069: directions
           within("\xe2\x80\x8e", "\xe2\x80\x8f");   // U+200E, U+200F: directions
}

} // namespace

std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
    const auto continues = [&](std::size_t index) { return index < text.size() && (byte(index) & 0xc0) == 0x80; };
    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first < 0xe0) return continues(1) ? 2 : 0;
    if (first >= 0xe0 && first < 0xf0) {
        if (!continues(1) || !continues(2)) return 0;
        const bool overlong = first == 0xe0 && byte(1) < 0xa0;
        const bool surrogate = first == 0xed && byte(1) >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    if (first >= 0xf0 && first < 0xf5) {
        if (!continues(1) || !continues(2) || !continues(3)) return 0;
        const bool outside = (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90);
        return outside ? 0 : 4;
    }
    return 0;
}

std::string printable(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const std::string_view character = text.substr(0, length);
        if (length == 0 || is_unsafe(character))
            result += '?';
        else
            result += character;
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return result;
}

} // namespace coppice
