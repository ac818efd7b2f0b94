#include "format/vhd/relink.h"

#include "format/base/error.h"
#include "format/vhd/parent_locator.h"

#include <algorithm>

namespace coppice::vhd {
namespace {

// tapdisk may overwrite the 4096 bytes that end with a block's bitmap.
constexpr Bytes bitmap_page = 4_KiB;

/// Where the primary footer is, or has to be written where there is no valid one.
Bytes primary_place(const BlockDevice& device, const Headers& headers, const Bat& bat) {
    const Footers& footers = headers.footers;
    if (footers.primary) return footers.primary_offset;
    if (device.fixed_size()) return device.size() - footer_size;
    const ReadBatmap batmap = read_batmap(device, headers.footer, *headers.layout);
    const Bytes end =
        data_end(*headers.layout, bat, metadata_end(*headers.layout, batmap.batmap, *headers.header, device.size()));
    if (device.size() >= end + footer_size) return device.size() - footer_size;
    // The last bytes of the file belong to a block whose footer was never written, or which is not all there yet.
    if (end > device.size() + headers.layout->block_span())
        throw CorruptImage{device.name(), "all blocks inside the file"};
    return end;
}

void refuse_poisoned(const BlockDevice& device, const Footer& footer) {
    if (footer.poisoned()) throw Unsupported{device.name(), "an interrupted resize has to be reverted first"};
}

void put(std::vector<std::byte>& bytes, std::span<const std::byte> text) {
    std::ranges::copy(text, bytes.begin());
}

} // namespace

HeaderEdit footer_edit(const BlockDevice& device, const Headers& headers, const Bat& bat, const Footer& footer) {
    refuse_poisoned(device, headers.footer);
    const Footers& footers = headers.footers;
    if (footers.primary == footer && footers.copy == footer && !footers.primary_short) return {};
    const auto bytes = footer.pack();
    return {{{{primary_place(device, headers, bat), bytes}}, {{0_B, bytes}}}};
}

DynamicHeader without_parent(DynamicHeader header) {
    disk::DynamicHeader& raw = header.editable();
    raw.parent_uuid = {};
    raw.parent_timestamp = 0;
    raw.parent_name = {};
    raw.locators = {};
    return header;
}

std::vector<Overwrite> differing_sectors(Bytes offset, std::span<const std::byte> before,
                                         std::span<const std::byte> after) {
    std::vector<Overwrite> result;
    bool extends = false;
    for (std::size_t at = 0; at < after.size(); at += sector_size.count()) {
        const std::size_t length = std::min<std::size_t>(sector_size.count(), after.size() - at);
        const auto bytes = after.subspan(at, length);
        if (std::ranges::equal(before.subspan(at, length), bytes)) {
            extends = false;
            continue;
        }
        if (!extends) result.push_back({offset + Bytes{at}, {}});
        result.back().bytes.insert(result.back().bytes.end(), bytes.begin(), bytes.end());
        extends = true;
    }
    return result;
}

Relinking::Relinking(const BlockDevice& device, const Headers& headers, const Bat& bat)
    : device_{device}, headers_{headers}, bat_{bat}, batmap_{read_batmap(device, headers.footer, *headers.layout)},
      locators_{read_locators(device, headers.footers, *headers.header)} {}

Relinking::Draft Relinking::draft() const {
    const Layout& layout = *headers_.layout;
    Draft draft{*headers_.header, {}, 0_B, 0_B};
    draft.free_begin = round_up(metadata_end(layout, batmap_.batmap, *headers_.header, device_.size()), sector_size);
    if (const auto first = bat_.blocks_begin()) {
        const Bytes bitmap_end = *first + layout.bitmap_size;
        draft.free_end = bitmap_end < bitmap_page ? 0_B : std::min(*first, bitmap_end - bitmap_page);
    } else if (device_.fixed_size()) {
        draft.free_end = device_.size() - footer_size;
    } else {
        draft.free_end = draft.free_begin + 1_MiB; // an empty file can grow
    }
    return draft;
}

bool Relinking::own_place(ByteRange place) const {
    const Layout& layout = *headers_.layout;
    if (place.empty() || place.begin < footer_size || place.end > headers_.footers.data_limit(device_)) return false;
    if (place.overlaps({layout.header_offset, layout.header_end()})) return false;
    if (place.overlaps({layout.table_offset, layout.table_end()})) return false;
    if (batmap_.batmap) {
        const Batmap& batmap = *batmap_.batmap;
        if (place.overlaps(ByteRange::at(batmap.header_offset(), sector_size))) return false;
        if (place.overlaps(ByteRange::at(batmap.map_offset(), batmap.map_size()))) return false;
    }
    for (auto block = bat_.next_allocated(0); block; block = bat_.next_allocated(*block + 1))
        if (place.overlaps(layout.place_of(bat_[*block]))) return false;
    return true;
}

bool Relinking::fits(const disk::ParentLocator&, const LocatorText& place, std::size_t length) const {
    if (Bytes{length} > place.place.length() || !own_place(place.place)) return false;
    return std::ranges::none_of(locators_, [&](const LocatorText& other) {
        return other.slot != place.slot && other.place.overlaps(place.place);
    });
}

void Relinking::write_text(Draft& draft, std::size_t slot, std::uint32_t code, const std::string& path) const {
    disk::ParentLocator& locator = draft.header.editable().locators[slot];
    const auto text = encode_locator(code, path);
    if (Bytes{text.size()} > longest_locator) throw Unsupported{path, "too long for a parent locator"};
    const auto present = std::ranges::find(locators_, slot, &LocatorText::slot);
    Bytes length = round_up(Bytes{text.size()}, sector_size);
    if (present != locators_.end() && fits(locator, *present, text.size())) {
        // Also over the rest of a longer old text, for readers that look further than the length says.
        const Bytes old_length = std::min(Bytes{locator.data_length.value()}, longest_locator);
        length = std::min(present->place.length(), std::max(length, round_up(old_length, sector_size)));
    } else {
        if (draft.free_begin + length > draft.free_end) {
            locator = {};
            return;
        }
        locator.platform_code = code;
        locator.data_space = static_cast<std::uint32_t>(length.count());
        locator.reserved = 0;
        locator.data_offset = draft.free_begin.count();
        draft.free_begin += length;
        draft.moves_footer = !device_.fixed_size() && !bat_.blocks_begin();
    }
    locator.data_length = static_cast<std::uint32_t>(text.size());
    std::vector<std::byte> bytes(length.count());
    put(bytes, text);
    draft.texts.push_back({Bytes{locator.data_offset.value()}, std::move(bytes)});
}

bool Relinking::changes(const std::vector<Overwrite>& texts) const {
    return std::ranges::any_of(texts, [&](const Overwrite& text) {
        return text.offset + Bytes{text.bytes.size()} > device_.size() ||
               device_.read_at(text.offset, Bytes{text.bytes.size()}) != text.bytes;
    });
}

namespace {

/// The header without the locators that readers look at, but for one.
DynamicHeader with_only(DynamicHeader header, std::size_t kept) {
    auto& locators = header.editable().locators;
    for (std::size_t slot = 0; slot < locators.size(); ++slot)
        if (slot != kept && platform::is_read(locators[slot].platform_code.value())) locators[slot] = {};
    return header;
}

} // namespace

/// A change of parent of which no reader ever sees half, because the header names one locator only while texts change:
/// header with the first locator alone; the new text at the place of the second; header with UUID, name and that place,
/// in one write; the other texts; header with all locators, the first two having changed places. nullopt where the
/// image has no two locators with room for each other's text.
std::optional<HeaderEdit> Relinking::switched_over(const Draft& draft) const {
    if (!headers_.footer.is(DiskType::differencing) || draft.moves_footer) return std::nullopt;
    std::vector<std::size_t> read;
    for (std::size_t slot = 0; slot < draft.header.raw().locators.size(); ++slot)
        if (platform::is_read(draft.header.raw().locators[slot].platform_code.value())) read.push_back(slot);
    if (read.size() < 2 || read.size() != draft.texts.size()) return std::nullopt;
    DynamicHeader after = draft.header;
    disk::ParentLocator& first = after.editable().locators[read[0]];
    disk::ParentLocator& second = after.editable().locators[read[1]];
    const auto& old_first = headers_.header->raw().locators[read[0]];
    const auto& old_second = headers_.header->raw().locators[read[1]];
    for (std::size_t at = 0; at < read.size(); ++at) // all texts stay in the places that the image has for them
        if (headers_.header->raw().locators[read[at]].data_offset.value() != draft.texts[at].offset.count())
            return std::nullopt;
    if (draft.texts[0].bytes.size() != draft.texts[1].bytes.size()) return std::nullopt;
    std::swap(first.data_offset, second.data_offset);
    std::swap(first.data_space, second.data_space);

    const Bytes header_offset = headers_.layout->header_offset;
    std::vector<Overwrite> rest{{Bytes{old_first.data_offset.value()}, draft.texts[1].bytes}};
    rest.insert(rest.end(), draft.texts.begin() + 2, draft.texts.end());
    return HeaderEdit{{{{header_offset, with_only(*headers_.header, read[0]).pack()}},
                       {{Bytes{old_second.data_offset.value()}, draft.texts[0].bytes}},
                       {{header_offset, with_only(after, read[0]).pack()}},
                       std::move(rest),
                       {{header_offset, after.pack()}}}};
}

HeaderEdit Relinking::to(const NewParent& parent) const {
    refuse_poisoned(device_, headers_.footer);
    if (parent.format == Format::qcow2) throw Unsupported{device_.name(), "a VHD cannot have a QCOW2 image as parent"};
    if (parent.format == Format::vhd && (!parent.vhd_uuid || parent.vhd_uuid->is_null()))
        throw Unsupported{device_.name(), "a VHD parent without UUID"};
    if (!batmap_.problem.empty()) throw CorruptImage{device_.name(), "a usable batmap: " + batmap_.problem};
    Draft draft = this->draft();
    disk::DynamicHeader& raw = draft.header.editable();
    raw.parent_uuid = parent.format == Format::vhd ? parent.vhd_uuid->bytes : Uuid{}.bytes;
    raw.parent_timestamp = vhd_time(parent.modified);
    raw.parent_name = encode_parent_name(base_name(parent.name));

    const std::string path = locator_path(parent.name);
    const auto count_read = [&raw] {
        return std::ranges::count_if(raw.locators, [](const disk::ParentLocator& locator) {
            return platform::is_read(locator.platform_code.value());
        });
    };
    if (count_read() == 0) {
        for (const std::uint32_t code : {platform::macx, platform::w2ku}) {
            const auto free = std::ranges::find_if(raw.locators, [](const disk::ParentLocator& locator) {
                return locator.platform_code.value() == platform::none;
            });
            if (free != raw.locators.end())
                write_text(draft, static_cast<std::size_t>(free - raw.locators.begin()), code, path);
        }
    } else {
        for (std::size_t slot = 0; slot < raw.locators.size(); ++slot)
            if (const std::uint32_t code = raw.locators[slot].platform_code.value(); platform::is_read(code))
                write_text(draft, slot, code, path);
    }
    if (count_read() == 0) throw Unsupported{device_.name(), "no room to name the parent " + parent.name};

    if (draft.header.pack() == headers_.header->pack() && !changes(draft.texts)) return {};
    if (auto edit = switched_over(draft)) return std::move(*edit);
    HeaderEdit edit;
    if (draft.moves_footer && draft.free_begin > headers_.footers.data_limit(device_))
        edit.phases.push_back({{draft.free_begin, headers_.footer.pack()}});
    if (!draft.texts.empty()) edit.phases.push_back(std::move(draft.texts));
    auto changed = differing_sectors(headers_.layout->header_offset, headers_.header->bytes(), draft.header.pack());
    if (!changed.empty()) edit.phases.push_back(std::move(changed));
    if (!headers_.footer.is(DiskType::differencing)) {
        HeaderEdit footers = footer_edit(device_, headers_, bat_, headers_.footer.with_type(DiskType::differencing));
        if (draft.moves_footer && draft.free_begin > headers_.footers.data_limit(device_))
            footers.phases.front().front().offset = draft.free_begin;
        std::ranges::move(footers.phases, std::back_inserter(edit.phases));
    }
    return edit;
}

HeaderEdit Relinking::to_nothing() const {
    refuse_poisoned(device_, headers_.footer);
    HeaderEdit edit;
    if (headers_.footer.is(DiskType::differencing))
        edit = footer_edit(device_, headers_, bat_, headers_.footer.with_type(DiskType::dynamic));
    auto changed = differing_sectors(headers_.layout->header_offset, headers_.header->bytes(),
                                     without_parent(*headers_.header).pack());
    if (!changed.empty()) edit.phases.push_back(std::move(changed));
    return edit;
}

} // namespace coppice::vhd
