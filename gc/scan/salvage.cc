#include "gc/scan/salvage.h"

#include "format/base/data_mover.h"
#include "format/base/uuid.h"

#include <algorithm>
#include <array>
#include <boost/endian/conversion.hpp>
#include <cctype>
#include <cstring>
#include <vector>

namespace coppice {
namespace {

// Names of parents stand here: in the headers of a VHD and behind its BAT, and in the first cluster of a QCOW2 image.
constexpr Bytes searched = 256_KiB;
constexpr std::size_t uuid_length = 36;
constexpr std::string_view vhd_cookie = "conectix";
constexpr std::string_view vhd_header_cookie = "cxsparse";
constexpr std::string_view qcow2_magic = "QFI\xfb";
constexpr std::size_t vhd_type_offset = 60;
constexpr std::uint32_t vhd_differencing = 4;
constexpr std::size_t qcow2_backing_offset = 8;

using View = std::span<const std::byte>;

bool stands_at(View bytes, std::size_t offset, std::string_view text) {
    return offset + text.size() <= bytes.size() && std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

/// The UUID whose text begins at `offset`, with one character in every `stride` bytes, zeros in between. Names of
/// devices have its hyphens doubled.
std::optional<std::string> uuid_text_at(View bytes, std::size_t offset, std::size_t stride) {
    if (offset + (uuid_length - 1) * stride >= bytes.size()) return std::nullopt;
    if (bytes[offset + 8 * stride] != std::byte{'-'}) return std::nullopt; // nearly every offset ends here
    const bool doubled = bytes[offset + 9 * stride] == std::byte{'-'};
    std::string text;
    for (std::size_t at = offset; text.size() < uuid_length; at += stride) {
        const bool last = text.size() + 1 == uuid_length;
        if (at >= bytes.size() || (stride == 2 && !last && at + 1 >= bytes.size())) return std::nullopt;
        if (stride == 2 && !last && bytes[at + 1] != std::byte{0}) return std::nullopt;
        if (doubled && bytes[at] == std::byte{'-'}) {
            at += stride; // to the second one, and there has to be one
            if (at >= bytes.size() || bytes[at] != std::byte{'-'}) return std::nullopt;
            if (stride == 2 && (at + 1 >= bytes.size() || bytes[at + 1] != std::byte{0})) return std::nullopt;
        }
        text += static_cast<char>(std::tolower(static_cast<unsigned char>(bytes[at])));
    }
    if (!is_uuid(text)) return std::nullopt;
    return text;
}

std::string lower_case(std::string text) {
    std::ranges::transform(text, text.begin(),
                           [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    return text;
}

/// No image of either format that holds any data is as short as the headers of a VHD.
constexpr Bytes smallest_with_data{1536};

/// Zeros where the header was and content behind them: a header that was lost, rather than a file that never had one.
bool lost_header(View head, View tail) {
    if (head.size() <= sector_size.count() || !all_zero(head.first(sector_size.count()))) return false;
    return !all_zero(head) || !all_zero(tail);
}

bool vhd_may_have_parent(View head, View tail) {
    // Cut off within the copy of the footer.
    if (head.size() < sector_size.count() && stands_at(head, 0, vhd_cookie)) {
        std::uint32_t type = 0;
        if (head.size() < vhd_type_offset + sizeof type) return true;
        std::memcpy(&type, head.data() + vhd_type_offset, sizeof type);
        return boost::endian::big_to_native(type) == vhd_differencing;
    }
    bool footer_seen = false;
    for (const View place : {head, tail}) {
        if (place.size() < sector_size.count()) continue;
        const View footer =
            place.data() == head.data() ? place.first(sector_size.count()) : place.last(sector_size.count());
        if (!stands_at(footer, 0, vhd_cookie)) continue;
        footer_seen = true;
        std::uint32_t type = 0;
        std::memcpy(&type, footer.data() + vhd_type_offset, sizeof type);
        if (boost::endian::big_to_native(type) == vhd_differencing) return true;
    }
    if (footer_seen) return false;
    for (std::size_t offset = 0; offset < head.size(); offset += sector_size.count())
        if (stands_at(head, offset, vhd_header_cookie)) return true;
    return lost_header(head, tail);
}

bool qcow2_may_have_parent(View head, View tail) {
    if (!stands_at(head, 0, qcow2_magic)) return lost_header(head, tail);
    std::uint64_t offset = 0;
    if (head.size() < qcow2_backing_offset + sizeof offset) return true;
    std::memcpy(&offset, head.data() + qcow2_backing_offset, sizeof offset);
    return offset != 0;
}

} // namespace

// Stride 2 finds both byte orders of UTF-16: the zeros between the characters are the same.
std::set<std::string> mentioned_uuids(std::span<const std::byte> bytes, const std::set<std::string>& uuids) {
    std::set<std::string> texts;
    for (std::size_t offset = 0; offset < bytes.size(); ++offset)
        for (const std::size_t stride : {1U, 2U})
            if (auto text = uuid_text_at(bytes, offset, stride)) texts.insert(std::move(*text));
    std::set<std::string> mentioned;
    if (texts.empty()) return mentioned;
    for (const std::string& uuid : uuids)
        if (texts.contains(lower_case(uuid.starts_with("OLD_") ? uuid.substr(4) : uuid))) mentioned.insert(uuid);
    return mentioned;
}

Salvage salvage(const BlockDevice& device, Format format, const std::set<std::string>& uuids) {
    Salvage result;
    if (format == Format::raw) return result;
    const std::vector<std::byte> head = device.read_at(0_B, std::min(device.size(), searched));
    const Bytes tail_length = std::min(device.size(), sector_size);
    const std::vector<std::byte> tail = device.read_at(device.size() - tail_length, tail_length);
    result.blank = all_zero(head) && all_zero(tail);
    result.mentioned = mentioned_uuids(head, uuids);
    result.may_have_parent =
        format == Format::vhd ? vhd_may_have_parent(head, tail) : qcow2_may_have_parent(head, tail);
    if (device.size() < smallest_with_data && result.may_have_parent) {
        result.blank = true; // it had a parent perhaps, but none of its data is left
        result.may_have_parent = false;
    }
    return result;
}

} // namespace coppice
