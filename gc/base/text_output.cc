#include "gc/base/text_output.h"

#include <array>
#include <cstdio>

namespace coppice {

std::string human_duration(std::chrono::seconds duration) {
    const auto total = duration.count();
    std::array<char, 40> text{};
    if (total < 3600)
        std::snprintf(text.data(), text.size(), "%d:%02d", static_cast<int>(total / 60), static_cast<int>(total % 60));
    else
        std::snprintf(text.data(), text.size(), "%lld:%02d:%02d", static_cast<long long>(total / 3600),
                      static_cast<int>(total / 60 % 60), static_cast<int>(total % 60));
    return text.data();
}

std::string painted(std::string_view text, Paint paint, bool color) {
    static constexpr std::array codes{"", "1", "2", "31", "32", "33", "34"};
    std::string result = printable(text);
    if (!color || paint == Paint::plain) return result;
    return std::string{"\x1b["} + codes[static_cast<std::size_t>(paint)] + 'm' + result + "\x1b[0m";
}

std::size_t display_width(std::string_view text) {
    std::size_t width = 0;
    for (const char c : text)
        if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) ++width; // the first byte of each character
    return width;
}

std::string padded(std::string_view text, std::size_t width) {
    const std::size_t have = display_width(text);
    return std::string{text} + std::string(width > have ? width - have : 0, ' ');
}

std::string padded_left(std::string_view text, std::size_t width) {
    const std::size_t have = display_width(text);
    return std::string(width > have ? width - have : 0, ' ') + std::string{text};
}

} // namespace coppice
