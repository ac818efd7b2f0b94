#include "format/vhd/footer.h"

#include "format/vhd/checksum.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>

namespace coppice::vhd {
namespace {

constexpr std::string_view valid_cookie = "conectix";
constexpr std::string_view poison_cookie = "v_poison";
constexpr std::string_view tap_creator = "tap";
constexpr std::uint32_t tap_0_1 = 0x00000001;
constexpr std::uint32_t tap_1_1 = 0x00010001;
constexpr std::uint32_t tap_1_3 = 0x00010003;
constexpr std::uint32_t features_always = 2;
constexpr std::uint32_t version_1_0 = 0x00010000;

std::uint32_t checksum_of(const disk::Footer& raw) {
    return structure_checksum(std::as_bytes(std::span{&raw, 1}), offsetof(disk::Footer, checksum));
}

} // namespace

std::uint32_t vhd_time(std::int64_t seconds_since_1970) {
    const std::int64_t seconds = seconds_since_1970 - vhd_epoch;
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(seconds, 0, std::numeric_limits<std::uint32_t>::max()));
}

Footer Footer::fresh(DiskType type, Bytes virtual_size, const Uuid& uuid, std::int64_t created) {
    disk::Footer raw{};
    put_text(raw.cookie, valid_cookie);
    raw.features = features_always;
    raw.version = version_1_0;
    raw.data_offset = type == DiskType::fixed ? no_data_offset : footer_size.count();
    raw.timestamp = vhd_time(created);
    put_text(raw.creator_application, tap_creator);
    raw.creator_version = tap_1_3;
    raw.original_size = virtual_size.count();
    raw.current_size = virtual_size.count();
    raw.geometry = geometry_of(virtual_size);
    raw.type = static_cast<std::uint32_t>(type);
    raw.uuid = uuid.bytes;
    raw.checksum = checksum_of(raw);
    return Footer{raw};
}

std::vector<std::byte> Footer::pack() const {
    disk::Footer raw = raw_;
    raw.checksum = checksum_of(raw);
    const auto bytes = std::as_bytes(std::span{&raw, 1});
    return {bytes.begin(), bytes.end()};
}

bool Footer::poisoned() const {
    return equals_text(raw_.cookie, poison_cookie);
}

bool Footer::made_by_tap() const {
    return equals_text(std::span{raw_.creator_application}.first(tap_creator.size()), tap_creator);
}

bool Footer::made_by_old_tap() const {
    return made_by_tap() && (creator_version() == tap_0_1 || creator_version() == tap_1_1);
}

Footer Footer::with_hidden(bool hidden) const {
    Footer result = *this;
    result.raw_.hidden = hidden ? std::byte{1} : std::byte{0};
    result.raw_.checksum = checksum_of(result.raw_);
    return result;
}

Footer Footer::with_type(DiskType type) const {
    Footer result = *this;
    result.raw_.type = static_cast<std::uint32_t>(type);
    result.raw_.checksum = checksum_of(result.raw_);
    return result;
}

Footer Footer::with_size(Bytes virtual_size) const {
    Footer result = *this;
    result.raw_.current_size = virtual_size.count();
    result.raw_.geometry = geometry_of(virtual_size);
    result.raw_.checksum = checksum_of(result.raw_);
    return result;
}

bool Footer::operator==(const Footer& other) const {
    return std::ranges::equal(bytes(), other.bytes());
}

UnpackedFooter unpack_footer(std::span<const std::byte> bytes) {
    disk::Footer raw{};
    if (bytes.size() != sizeof raw && bytes.size() != short_footer_size.count()) return {std::nullopt, "too short"};
    std::memcpy(&raw, bytes.data(), bytes.size());
    if (!equals_text(raw.cookie, valid_cookie) && !equals_text(raw.cookie, poison_cookie))
        return {std::nullopt, "no footer cookie"};
    if (checksum_of(raw) == raw.checksum.value()) return {Footer{raw}, {}};
    if (raw.hidden != std::byte{0} && Footer{raw}.made_by_old_tap()) {
        disk::Footer visible = raw;
        visible.hidden = std::byte{0};
        if (checksum_of(visible) == raw.checksum.value()) return {Footer{raw}, {}};
    }
    return {std::nullopt, "wrong checksum"};
}

std::uint32_t geometry_of(Bytes virtual_size) {
    constexpr std::uint64_t most_cylinders = 65535;
    constexpr std::uint64_t tracks_per_head_step = 1024;
    std::uint64_t sectors = std::min(whole_sectors(virtual_size).count(), most_cylinders * 16 * 255);
    std::uint64_t per_track = 17;
    std::uint64_t heads = 16;
    std::uint64_t tracks = 0;
    if (sectors >= most_cylinders * 16 * 63) {
        per_track = 255;
        tracks = sectors / per_track;
    } else {
        tracks = sectors / per_track;
        heads = std::max<std::uint64_t>(4, (tracks + tracks_per_head_step - 1) / tracks_per_head_step);
        if (tracks >= heads * tracks_per_head_step || heads > 16) {
            per_track = 31;
            heads = 16;
            tracks = sectors / per_track;
        }
        if (tracks >= heads * tracks_per_head_step) {
            per_track = 63;
            heads = 16;
            tracks = sectors / per_track;
        }
    }
    return static_cast<std::uint32_t>((tracks / heads) << 16 | heads << 8 | per_track);
}

} // namespace coppice::vhd
