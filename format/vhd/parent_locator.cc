#include "format/vhd/parent_locator.h"

#include "format/base/error.h"

#include <algorithm>

namespace coppice::vhd {
namespace {

constexpr std::string_view file_scheme = "file://";

enum class ByteOrder { little, big };

constexpr bool is_surrogate(char32_t c) {
    return c >= 0xD800 && c <= 0xDFFF;
}

void append_utf8(std::string& out, char32_t c) {
    const auto put = [&out](char32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0 | c >> 6);
        put(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        put(0xE0 | c >> 12);
        put(0x80 | (c >> 6 & 0x3F));
        put(0x80 | (c & 0x3F));
    } else {
        put(0xF0 | c >> 18);
        put(0x80 | (c >> 12 & 0x3F));
        put(0x80 | (c >> 6 & 0x3F));
        put(0x80 | (c & 0x3F));
    }
}

/// Strict: no overlong forms, no surrogates, nothing above U+10FFFF.
std::optional<std::u32string> decode_utf8(std::string_view text) {
    std::u32string result;
    for (std::size_t i = 0; i < text.size();) {
        const auto first = static_cast<unsigned char>(text[i++]);
        if (first < 0x80) {
            result += first;
            continue;
        }
        const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
        if (first < 0xC2 || first > 0xF4) return std::nullopt;
        char32_t c = first & (0x3F >> more);
        for (int k = 0; k < more; ++k, ++i) {
            if (i >= text.size() || (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return std::nullopt;
            c = c << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
        }
        constexpr char32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (c < least[more] || c > 0x10FFFF || is_surrogate(c)) return std::nullopt;
        result += c;
    }
    return result;
}

/// Up to the first zero character. nullopt for lone surrogates and odd lengths.
std::optional<std::string> decode_utf16(std::span<const std::byte> bytes, ByteOrder order) {
    if (bytes.size() % 2 != 0) return std::nullopt;
    const auto unit = [&](std::size_t index) {
        const auto a = std::to_integer<char32_t>(bytes[index]);
        const auto b = std::to_integer<char32_t>(bytes[index + 1]);
        return order == ByteOrder::big ? a << 8 | b : b << 8 | a;
    };
    std::string result;
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
        char32_t c = unit(i);
        if (c == 0) break;
        if (is_surrogate(c)) {
            if (c >= 0xDC00 || i + 2 >= bytes.size()) return std::nullopt;
            i += 2;
            const char32_t low = unit(i);
            if (low < 0xDC00 || low > 0xDFFF) return std::nullopt;
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        }
        append_utf8(result, c);
    }
    return result;
}

std::vector<std::byte> encode_utf16(std::string_view text, ByteOrder order) {
    const auto characters = decode_utf8(text);
    if (!characters) throw Unsupported{std::string{text}, "a VHD can only name a parent in valid UTF-8"};
    std::vector<std::byte> result;
    const auto put = [&](char32_t unit) {
        const auto high = static_cast<std::byte>(unit >> 8);
        const auto low = static_cast<std::byte>(unit & 0xFF);
        result.push_back(order == ByteOrder::big ? high : low);
        result.push_back(order == ByteOrder::big ? low : high);
    };
    for (const char32_t c : *characters) {
        if (c < 0x10000) {
            put(c);
        } else {
            put(0xD800 + ((c - 0x10000) >> 10));
            put(0xDC00 + ((c - 0x10000) & 0x3FF));
        }
    }
    return result;
}

bool has_drive_letter(std::string_view path) {
    return path.size() >= 2 && path[1] == ':' &&
           ((path[0] >= 'a' && path[0] <= 'z') || (path[0] >= 'A' && path[0] <= 'Z'));
}

} // namespace

namespace platform {

bool is_known(std::uint32_t code) {
    constexpr std::uint32_t known[] = {none, wi2r, wi2k, w2ru, w2ku, mac, macx};
    return std::ranges::find(known, code) != std::end(known);
}

bool is_read(std::uint32_t code) {
    return code == macx || code == w2ku || code == w2ru;
}

} // namespace platform

std::optional<Bytes> locator_space(const disk::ParentLocator& locator) {
    const Bytes stored{locator.data_space.value()};
    if (stored < sector_size) return to_bytes(Sectors{stored.count()});
    if (is_aligned(stored, sector_size)) return stored;
    return std::nullopt;
}

std::optional<std::string> decode_locator(std::uint32_t code, std::span<const std::byte> text) {
    std::string path;
    if (code == platform::macx) {
        for (const std::byte byte : text)
            path += static_cast<char>(byte);
        path.resize(std::min(path.size(), path.find('\0')));
        if (!path.starts_with(file_scheme) || !decode_utf8(path)) return std::nullopt;
        path.erase(0, file_scheme.size());
    } else if (code == platform::w2ku || code == platform::w2ru) {
        const auto decoded = decode_utf16(text, ByteOrder::little);
        if (!decoded) return std::nullopt;
        path = *decoded;
        if (has_drive_letter(path)) path.erase(0, 2);
        std::ranges::replace(path, '\\', '/');
    }
    if (path.empty()) return std::nullopt;
    return path;
}

std::vector<std::byte> encode_locator(std::uint32_t code, std::string_view path) {
    if (code == platform::macx) {
        const std::string text = std::string{file_scheme} + std::string{path};
        if (!decode_utf8(text)) throw Unsupported{std::string{path}, "a VHD can only name a parent in valid UTF-8"};
        const auto bytes = std::as_bytes(std::span{text});
        return {bytes.begin(), bytes.end()};
    }
    std::string windows{path};
    // The reference puts ".\" in front of every relative path, "..\" included.
    if (!windows.starts_with("./") && !windows.starts_with('/')) windows.insert(0, "./");
    std::ranges::replace(windows, '/', '\\');
    return encode_utf16(windows, ByteOrder::little);
}

std::string locator_path(std::string_view name) {
    if (name.starts_with('/') || name.starts_with("./") || name.starts_with("../")) return std::string{name};
    return "./" + std::string{name};
}

std::optional<std::string> decode_parent_name(std::span<const std::byte> utf16_big_endian) {
    return decode_utf16(utf16_big_endian, ByteOrder::big);
}

std::array<std::byte, 512> encode_parent_name(std::string_view name) {
    std::array<std::byte, 512> result{};
    const auto text = encode_utf16(name, ByteOrder::big);
    if (text.size() > result.size()) throw Unsupported{std::string{name}, "the name is too long for a VHD header"};
    std::ranges::copy(text, result.begin());
    return result;
}

std::string_view base_name(std::string_view path) {
    const auto slash = path.find_last_of('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

} // namespace coppice::vhd
