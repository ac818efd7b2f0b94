#include "format/vhd/headers.h"

#include "format/base/error.h"
#include "format/vhd/parent_locator.h"

#include <algorithm>

namespace coppice::vhd {
namespace {

// Little-endian bitmaps; the reference refuses them as well.
constexpr std::uint32_t tap_0_1 = 0x00000001;

bool known_type(const Footer& footer) {
    return footer.is(DiskType::fixed) || footer.is(DiskType::dynamic) || footer.is(DiskType::differencing);
}

/// offset and space of a locator where they are inside anything imaginable.
ByteRange place_of(const disk::ParentLocator& locator) {
    const Bytes offset{locator.data_offset.value()};
    const Bytes space = locator_space(locator).value_or(0_B);
    if (offset.count() > ~std::uint64_t{0} - space.count()) return {};
    return ByteRange::at(offset, space);
}

bool in_use(const disk::ParentLocator& locator) {
    return locator.platform_code.value() != platform::none;
}

} // namespace

UnpackedHeader read_header(const BlockDevice& device, const Footers& footers, const Footer& footer) {
    const Bytes offset = footer.data_offset();
    if (offset < footer_size || offset > device.size() || device.size() - offset < header_size)
        return {std::nullopt, "the dynamic header lies outside the file", "header-missing"};
    return unpack_header(footers.read(device, offset, header_size));
}

Headers read_headers(const BlockDevice& device) {
    Footers footers = read_footers(device);
    const std::optional<Footer> footer = footers.effective();
    if (!footer)
        throw CorruptImage{device.name(), "a valid footer (primary: " + footers.primary_problem +
                                              "; copy: " + footers.copy_problem + ")"};
    if (!known_type(*footer))
        throw Unsupported{device.name(), "VHD of unknown type " + std::to_string(footer->type_code())};
    Headers result{std::move(footers), *footer, std::nullopt, std::nullopt};
    if (footer->is(DiskType::fixed)) return result;
    if (footer->made_by_tap() && footer->creator_version() == tap_0_1)
        throw Unsupported{device.name(), "VHD of tap 0.1, whose bitmaps have another bit order"};
    UnpackedHeader header = read_header(device, result.footers, *footer);
    if (!header.header)
        throw CorruptImage{device.name(), footer->data_offset(), "a valid dynamic header: " + header.problem};
    UnpackedLayout layout = lay_out(*footer, *header.header, device.size());
    if (layout.unsupported) throw Unsupported{device.name(), layout.problem};
    if (!layout.layout) throw CorruptImage{device.name(), "a usable block table: " + layout.problem};
    result.header = header.header;
    result.layout = layout.layout;
    return result;
}

std::vector<LocatorText> read_locators(const BlockDevice& device, const Footers& footers, const DynamicHeader& header) {
    std::vector<LocatorText> result;
    for (std::size_t slot = 0; slot < header.raw().locators.size(); ++slot) {
        const disk::ParentLocator& locator = header.raw().locators[slot];
        const std::uint32_t code = locator.platform_code.value();
        if (code == platform::none) continue;
        LocatorText text{slot, code, place_of(locator), std::nullopt, {}};
        const Bytes length{locator.data_length.value()};
        if (length > text.place.length() || length > longest_locator)
            text.problem = "is longer than its space";
        else if (text.place.begin < footer_size || text.place.begin > device.size() ||
                 device.size() - text.place.begin < length)
            text.problem = "lies outside the file";
        else if (platform::is_read(code)) {
            text.path = decode_locator(code, footers.read(device, text.place.begin, length));
            if (!text.path) text.problem = "cannot be decoded";
        }
        result.push_back(std::move(text));
    }
    return result;
}

Bytes metadata_end(const Layout& layout, const std::optional<Batmap>& batmap, const DynamicHeader& header,
                   Bytes device_size) {
    Bytes end = std::max(layout.header_end(), layout.table_end());
    if (batmap) end = std::max(end, batmap->end());
    for (const disk::ParentLocator& locator : header.raw().locators)
        if (in_use(locator) && place_of(locator).end <= device_size) end = std::max(end, place_of(locator).end);
    return end;
}

bool locators_inside(const DynamicHeader& header, Bytes device_size) {
    return std::ranges::all_of(header.raw().locators, [&](const disk::ParentLocator& locator) {
        return !in_use(locator) || (!place_of(locator).empty() && place_of(locator).end <= device_size);
    });
}

Bytes data_end(const Layout& layout, const Bat& bat, Bytes metadata_end) {
    return round_up(std::max(metadata_end, bat.blocks_end(layout).value_or(0_B)), sector_size);
}

} // namespace coppice::vhd
