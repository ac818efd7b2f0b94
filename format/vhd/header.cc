#include "format/vhd/header.h"

#include "format/vhd/checksum.h"
#include "format/vhd/footer.h"
#include "format/vhd/parent_locator.h"

#include <bit>
#include <cstring>
#include <string_view>

namespace coppice::vhd {
namespace {

constexpr std::string_view header_cookie = "cxsparse";
constexpr std::uint32_t version_1_0 = 0x00010000;

std::uint32_t checksum_of(const disk::DynamicHeader& raw) {
    return structure_checksum(std::as_bytes(std::span{&raw, 1}), offsetof(disk::DynamicHeader, checksum));
}

} // namespace

DynamicHeader DynamicHeader::fresh(Bytes table_offset, std::uint32_t table_entries, Bytes block_size) {
    disk::DynamicHeader raw{};
    put_text(raw.cookie, header_cookie);
    raw.data_offset = no_data_offset;
    raw.table_offset = table_offset.count();
    raw.version = version_1_0;
    raw.table_entries = table_entries;
    raw.block_size = static_cast<std::uint32_t>(block_size.count());
    raw.checksum = checksum_of(raw);
    return DynamicHeader{raw};
}

std::vector<std::byte> DynamicHeader::pack() const {
    disk::DynamicHeader raw = raw_;
    raw.checksum = checksum_of(raw);
    const auto bytes = std::as_bytes(std::span{&raw, 1});
    return {bytes.begin(), bytes.end()};
}

UnpackedHeader unpack_header(std::span<const std::byte> bytes) {
    const auto invalid = [](std::string code, std::string problem) {
        return UnpackedHeader{std::nullopt, std::move(problem), std::move(code)};
    };
    disk::DynamicHeader raw{};
    if (bytes.size() != sizeof raw) return invalid("header-missing", "the file ends inside the dynamic header");
    std::memcpy(&raw, bytes.data(), sizeof raw);
    if (!equals_text(raw.cookie, header_cookie)) return invalid("header-cookie", "no cookie of a dynamic header");
    if (checksum_of(raw) != raw.checksum.value())
        return invalid("header-checksum", "wrong checksum of the dynamic header");
    if (raw.version.value() != version_1_0) return invalid("header-version", "unknown version of the dynamic header");
    const std::uint32_t block_size = raw.block_size.value();
    if (!std::has_single_bit(block_size) || Bytes{block_size} < sector_size)
        return invalid("block-size", "block size " + std::to_string(block_size) + " is no power of two of sectors");
    for (std::size_t slot = 0; slot < raw.locators.size(); ++slot) {
        const disk::ParentLocator& locator = raw.locators[slot];
        const std::uint32_t code = locator.platform_code.value();
        if (!platform::is_known(code))
            return invalid("locator-code", "parent locator " + std::to_string(slot) + " has an unknown platform code");
        if (code != platform::none && !locator_space(locator))
            return invalid("locator-space", "parent locator " + std::to_string(slot) + " has a senseless size");
    }
    return {DynamicHeader{raw}, {}, {}};
}

} // namespace coppice::vhd
