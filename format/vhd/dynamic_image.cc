#include "format/vhd/dynamic_image.h"

#include "format/base/error.h"
#include "format/merge_target.h"
#include "format/vhd/dynamic_target.h"
#include "format/vhd/merged_size.h"
#include "format/vhd/parent_locator.h"
#include "format/vhd/relink.h"
#include "format/vhd/sector_bitmap.h"
#include "format/vhd/tail.h"

#include <algorithm>

namespace coppice::vhd {
namespace {

// Bitmaps that one batch of reads asks for.
constexpr Bytes bitmap_batch = 1_MiB;

std::optional<ParentReference> parent_of(const BlockDevice& device, const Headers& headers) {
    if (!headers.footer.is(DiskType::differencing)) return std::nullopt;
    const DynamicHeader& header = *headers.header;
    ParentReference result;
    const auto add = [&result](const std::string& name) {
        if (!name.empty() && std::ranges::find(result.names, name) == result.names.end()) result.names.push_back(name);
    };
    for (const LocatorText& text : read_locators(device, headers.footers, header))
        if (text.path) add(*text.path);
    add(decode_parent_name(header.raw().parent_name).value_or(""));
    if (result.names.empty()) throw CorruptImage{device.name(), "the name of a parent, for a differencing disk"};
    const Uuid uuid = header.parent_uuid();
    result.format = uuid.is_null() ? Format::raw : Format::vhd;
    if (!uuid.is_null()) result.vhd_uuid = uuid;
    return result;
}

} // namespace

DynamicImage::DynamicImage(std::unique_ptr<BlockDevice> device, Headers headers)
    : Image{std::move(device)}, headers_{std::move(headers)},
      data_limit_{headers_.footers.data_limit(this->device())}, parent_{parent_of(this->device(), headers_)} {
    headers_.footers.head = {}; // thousands of images may be open at once
}

const Bat& DynamicImage::bat() const {
    if (!bat_) bat_ = Bat::read(device(), layout());
    return *bat_;
}

std::optional<Bytes> DynamicImage::next_mapped(Bytes from) const {
    if (from >= virtual_size()) return std::nullopt;
    const auto block = bat().next_allocated(from / layout().block_size);
    if (!block) return std::nullopt;
    return std::max(from, layout().guest_of(*block).begin);
}

std::vector<MapRun> DynamicImage::map(ByteRange window) const {
    std::vector<MapRun> runs;
    window = intersection(window, {0_B, virtual_size()});
    if (window.empty()) return runs;
    window = {round_down(window.begin, sector_size), round_up(window.end, sector_size)};
    std::vector<BlockPart> parts;
    std::vector<std::byte> buffer;
    Bytes wanted;
    for (auto block = bat().next_allocated(window.begin / layout().block_size); block;
         block = bat().next_allocated(*block + 1)) {
        const ByteRange guest = layout().guest_of(*block);
        const ByteRange inside = intersection(guest, window);
        if (inside.empty()) break;
        parts.push_back({*block, (inside.begin - guest.begin) / sector_size, (inside.end - guest.begin) / sector_size});
        wanted += layout().bitmap_size;
        if (wanted >= bitmap_batch) {
            map_parts(parts, buffer, runs);
            parts.clear();
            wanted = 0_B;
        }
    }
    map_parts(parts, buffer, runs);
    return runs;
}

void DynamicImage::check_entry(std::uint64_t block, Bytes bitmap_needed) const {
    const Bytes place = to_bytes(Sectors{bat()[block]});
    if (place < std::max(layout().header_end(), layout().table_offset + Bytes{layout().blocks * 4}))
        throw CorruptImage{name(), place, "block " + std::to_string(block) + " outside the metadata"};
    if (place + bitmap_needed > data_limit_)
        throw CorruptImage{name(), place, "block " + std::to_string(block) + " inside the file"};
}

void DynamicImage::map_parts(std::vector<BlockPart>& parts, std::vector<std::byte>& buffer,
                             std::vector<MapRun>& runs) const {
    // Only the bitmap sectors that the window needs: bitmaps of very large blocks are large themselves.
    const Bytes sectors_per_bitmap_sector{sector_size.count() * 8};
    std::size_t used = 0;
    for (BlockPart& part : parts) {
        part.bits = used;
        const std::uint64_t first = part.begin / sectors_per_bitmap_sector.count();
        const std::uint64_t last = units_needed(Bytes{part.end}, sectors_per_bitmap_sector);
        used += (last - first) * sector_size.count();
        check_entry(part.block, sector_size * last);
    }
    buffer.resize(used);
    std::vector<ReadRequest> requests;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const std::size_t end = i + 1 < parts.size() ? parts[i + 1].bits : used;
        const std::uint64_t first = parts[i].begin / sectors_per_bitmap_sector.count();
        requests.push_back({to_bytes(Sectors{bat()[parts[i].block]}) + sector_size * first,
                            std::span{buffer}.subspan(parts[i].bits, end - parts[i].bits)});
    }
    device().read(requests);
    for (const BlockPart& part : parts) {
        const auto bits = std::span<const std::byte>{buffer}.subspan(part.bits);
        const std::uint64_t base = round_down(Bytes{part.begin}, sectors_per_bitmap_sector).count();
        const Bytes guest = layout().guest_of(part.block).begin;
        const Bytes data = layout().data_of(bat()[part.block]);
        for_each_run(bits, part.begin - base, part.end - base, true, [&](std::uint64_t begin, std::uint64_t end) {
            const Bytes from = to_bytes(Sectors{base + begin});
            const Bytes to = to_bytes(Sectors{base + end});
            if (data + to > data_limit_)
                throw CorruptImage{name(), data + from,
                                   "data of block " + std::to_string(part.block) + " inside the file"};
            MapRun* last = runs.empty() ? nullptr : &runs.back();
            if (last != nullptr && last->guest.end == guest + from && last->host + last->guest.length() == data + from)
                last->guest.end = guest + to;
            else
                runs.push_back({{guest + from, guest + to}, Content::data, data + from});
        });
    }
}

Bytes DynamicImage::allocated_size() const {
    return layout().block_size * bat().count_allocated();
}

Bytes DynamicImage::physical_size() const {
    const ReadBatmap batmap = read_batmap(device(), headers_.footer, layout());
    return data_end(layout(), bat(), metadata_end(layout(), batmap.batmap, *headers_.header, device().size())) +
           footer_size;
}

TargetShape DynamicImage::target_shape() const {
    TargetShape shape;
    shape.unit = layout().block_size;
    shape.fill_unit = sector_size;
    // Data starts on a page, so that the gap before the bitmap takes the rest of its pages.
    shape.unit_overhead = round_up(layout().bitmap_size, 4_KiB);
    shape.index_covers = layout().block_size;
    shape.largest_virtual_size = largest_virtual_size;
    return shape;
}

std::unique_ptr<const TargetSpace> DynamicImage::target_space() const {
    return merged_size(device(), headers_, bat());
}

std::unique_ptr<const TailSpace> DynamicImage::tail_space() const {
    return vhd::tail_space(device(), headers_, bat());
}

void DynamicImage::forget(const RangeList& guest, EditLog& log) {
    vhd::forget(device(), log, guest);
}

HeaderEdit DynamicImage::relinked(const std::optional<NewParent>& parent) const {
    const Relinking relinking{device(), headers_, bat()};
    return parent ? relinking.to(*parent) : relinking.to_nothing();
}

HeaderEdit DynamicImage::with_hidden(bool hidden) const {
    return footer_edit(device(), headers_, bat(), headers_.footer.with_hidden(hidden));
}

std::unique_ptr<MergeTarget> DynamicImage::merge_target(EditLog& log) {
    return std::make_unique<DynamicTarget>(device(), log);
}

} // namespace coppice::vhd
