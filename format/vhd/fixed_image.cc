#include "format/vhd/fixed_image.h"

#include "format/base/error.h"
#include "format/merge_target.h"
#include "format/vhd/fixed_target.h"

#include <algorithm>

namespace coppice::vhd {

FixedImage::FixedImage(std::unique_ptr<BlockDevice> device, Headers headers)
    : Image{std::move(device)}, headers_{std::move(headers)} {
    headers_.footers.head = {};
    if (virtual_size() > headers_.footers.primary_offset)
        throw CorruptImage{name(),
                           "all " + std::to_string(virtual_size().count()) + " bytes of a fixed disk in the file"};
}

std::optional<Bytes> FixedImage::next_mapped(Bytes from) const {
    if (from >= virtual_size()) return std::nullopt;
    const auto data = device().next_data(from);
    if (!data || data->begin >= virtual_size()) return std::nullopt;
    return std::max(from, round_down(data->begin, sector_size));
}

std::vector<MapRun> FixedImage::map(ByteRange window) const {
    std::vector<MapRun> runs;
    window = intersection(window, {0_B, virtual_size()});
    for (Bytes at = window.begin; at < window.end;) {
        const auto data = device().next_data(at);
        if (!data || data->begin >= window.end) break;
        const Bytes begin = std::max(at, round_down(data->begin, sector_size));
        const Bytes end = std::min(window.end, round_up(data->end, sector_size));
        if (!runs.empty() && runs.back().guest.end == begin)
            runs.back().guest.end = end;
        else
            runs.push_back({{begin, end}, Content::data, begin});
        at = end;
    }
    return runs;
}

HeaderEdit FixedImage::relinked(const std::optional<NewParent>& parent) const {
    if (parent) throw Unsupported{name(), "a fixed VHD cannot have a parent"};
    return {};
}

HeaderEdit FixedImage::with_hidden(bool hidden) const {
    if (headers_.footer.poisoned()) throw Unsupported{name(), "an interrupted resize has to be reverted first"};
    if (headers_.footer.hidden() == hidden && !headers_.footers.primary_short) return {};
    return {{{{headers_.footers.primary_offset, headers_.footer.with_hidden(hidden).pack()}}}};
}

std::unique_ptr<MergeTarget> FixedImage::merge_target(EditLog& log) {
    return std::make_unique<FixedTarget>(device(), log);
}

} // namespace coppice::vhd
