#include "format/qcow2/bitmaps.h"

#include <algorithm>

namespace coppice::qcow2 {
namespace {

constexpr std::size_t autoclear_field = offsetof(disk::Header, autoclear_features);

} // namespace

HeaderEdit autoclear_edit(const BlockDevice& device, const Header& header) {
    const std::size_t sector = sector_size.count();
    const std::size_t end = std::max(sector, round_up(header.extensions_end, sector_size).count());
    std::vector<std::byte> before(end);
    device.read_padded(0_B, before);
    std::vector<std::byte> after = before;
    if (header.version >= 3) std::fill_n(after.begin() + autoclear_field, 8, std::byte{0});
    if (const Extension* bitmaps = header.extension(disk::extension_bitmaps)) {
        const std::size_t size = sizeof(disk::ExtensionHeader) + round_up(Bytes{bitmaps->data.size()}, 8_B).count();
        const auto place = after.begin() + static_cast<std::ptrdiff_t>(bitmaps->offset.count());
        const auto area_end = after.begin() + static_cast<std::ptrdiff_t>(header.extensions_end.count());
        // The next ones move up; the zeros behind them are an end mark.
        std::fill(std::move(place + static_cast<std::ptrdiff_t>(size), area_end, place), area_end, std::byte{0});
    }
    HeaderEdit edit;
    if (before == after) return edit;
    const auto first_sector = [&] {
        return std::vector<std::byte>(after.begin(), after.begin() + static_cast<std::ptrdiff_t>(sector));
    };
    if (std::equal(before.begin() + static_cast<std::ptrdiff_t>(sector), before.end(),
                   after.begin() + static_cast<std::ptrdiff_t>(sector))) {
        edit.phases = {{{0_B, first_sector()}}};
        return edit;
    }
    std::vector<std::byte> bits(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(sector));
    if (header.version >= 3) std::fill_n(bits.begin() + autoclear_field, 8, std::byte{0});
    edit.phases = {{{0_B, std::move(bits)}}, {{0_B, std::move(after)}}};
    return edit;
}

} // namespace coppice::qcow2
