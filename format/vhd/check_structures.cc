#include "format/vhd/check_structures.h"

#include "format/base/data_mover.h"
#include "format/vhd/parent_locator.h"

#include <algorithm>
#include <set>

namespace coppice::vhd {
namespace {

// Clocks of hosts differ; the reference grants as much.
constexpr std::int64_t clock_tolerance = 30 * 60;
constexpr std::uint32_t features_always = 0x2;
constexpr std::uint32_t features_known = 0x3;
constexpr std::uint32_t version_1_0 = 0x00010000;
constexpr std::uint32_t tap_0_1 = 0x00000001;
constexpr std::uint32_t newest_tap = 0x00010003;

} // namespace

void Findings::note(std::string code, std::optional<Bytes> offset, std::string text) {
    report_.findings.push_back({std::move(code), offset, std::move(text)});
}

void Findings::damage(std::string code, std::optional<Bytes> offset, std::string text) {
    if (report_.verdict != Verdict::unsupported) {
        report_.verdict = Verdict::corrupt;
        report_.reason = "image-damaged";
    }
    report_.mergeable = false;
    note(std::move(code), offset, std::move(text));
}

void Findings::blemish(std::string code, std::optional<Bytes> offset, std::string text) {
    const bool mergeable = report_.mergeable;
    damage(std::move(code), offset, std::move(text));
    report_.mergeable = mergeable;
}

void Findings::unreadable(std::string code, std::optional<Bytes> offset, std::string text) {
    report_.readable = false;
    damage(std::move(code), offset, std::move(text));
}

void Findings::unsupported(std::string code, std::string text) {
    report_.verdict = Verdict::unsupported;
    report_.reason = "unsupported-feature";
    report_.readable = report_.mergeable = false;
    note(std::move(code), std::nullopt, std::move(text));
}

void check_footer_fields(const Footer& footer, std::int64_t now, Findings& findings) {
    const disk::Footer& raw = footer.raw();
    const bool fixed = footer.is(DiskType::fixed);
    if (!fixed && !footer.is(DiskType::dynamic) && !footer.is(DiskType::differencing))
        return findings.unsupported("disk-type", "unknown disk type " + std::to_string(footer.type_code()));
    if (raw.version.value() != version_1_0)
        return findings.unsupported("footer-version", "unknown version of the footer");
    if (footer.made_by_tap() && footer.creator_version() == tap_0_1)
        return findings.unsupported("creator-version", "made by tap 0.1, whose bitmaps have another bit order");
    if (footer.made_by_tap() && footer.creator_version() > newest_tap)
        return findings.unsupported("creator-version", "made by a newer version of tap than is known");
    const std::uint32_t features = raw.features.value();
    if ((features & features_always) == 0 || (features & ~features_known) != 0)
        findings.damage("footer-features", std::nullopt, "impossible feature bits in the footer");
    if (fixed && raw.data_offset.value() != no_data_offset)
        findings.damage("footer-data-offset", std::nullopt, "a fixed disk that names a dynamic header");
    if (static_cast<std::int64_t>(raw.timestamp.value()) + vhd_epoch > now + clock_tolerance)
        findings.blemish("footer-timestamp", std::nullopt, "the disk was made in the future");
    if (std::to_integer<unsigned>(raw.saved) > 1 || std::to_integer<unsigned>(raw.hidden) > 1)
        findings.damage("footer-flags", std::nullopt, "impossible flags in the footer");
    if (!all_zero(raw.reserved))
        findings.damage("footer-reserved", std::nullopt, "reserved bytes of the footer are used");
    if (footer.uuid().is_null()) findings.damage("uuid-null", std::nullopt, "the disk has no UUID");
    if (!is_aligned(footer.current_size(), sector_size))
        findings.note("size-unaligned", std::nullopt, "the virtual size is no whole number of sectors");
}

void check_header_fields(const DynamicHeader& header, Bytes offset, Findings& findings) {
    const disk::DynamicHeader& raw = header.raw();
    if (raw.data_offset.value() != no_data_offset)
        findings.damage("header-data-offset", offset, "the dynamic header names a structure behind it");
    if (!is_aligned(header.table_offset(), sector_size))
        findings.damage("bat-offset", header.table_offset(), "the block table does not begin on a sector");
    if (raw.reserved.value() != 0 || !all_zero(raw.reserved2))
        findings.damage("header-reserved", offset, "reserved bytes of the dynamic header are used");
}

void check_no_parent(const DynamicHeader& header, Bytes offset, Findings& findings) {
    const disk::DynamicHeader& raw = header.raw();
    if (!header.parent_uuid().is_null() || raw.parent_timestamp.value() != 0 || !all_zero(raw.parent_name) ||
        !all_zero(std::as_bytes(std::span{raw.locators})))
        findings.blemish("parent-on-root", offset, "a dynamic disk with remains of a parent");
}

bool check_locator_texts(const DynamicHeader& header, const std::vector<LocatorText>& locators, const Layout& layout,
                         Findings& findings) {
    const std::optional<std::string> parent_name = decode_parent_name(header.raw().parent_name);
    if (!parent_name)
        findings.damage("parent-name", layout.header_offset, "the parent's name in the header cannot be decoded");
    bool named = parent_name && !parent_name->empty();
    std::set<std::uint32_t> codes;
    for (const LocatorText& text : locators) {
        const std::string which = "parent locator " + std::to_string(text.slot);
        if (!text.problem.empty()) findings.damage("locator-text", text.place.begin, which + " " + text.problem);
        if (!text.place.empty() && (text.place.overlaps({layout.header_offset, layout.header_end()}) ||
                                    text.place.overlaps({layout.table_offset, layout.table_end()})))
            findings.damage("locator-place", text.place.begin, which + " lies in other metadata");
        if (header.raw().locators[text.slot].reserved.value() != 0)
            findings.damage("locator-reserved", layout.header_offset, which + " uses reserved bytes");
        if (!codes.insert(text.code).second)
            findings.damage("locator-twice", layout.header_offset, which + " repeats a platform");
        if (!text.path) continue;
        named = true;
        if (parent_name && base_name(*text.path) != *parent_name)
            findings.damage("parent-names-differ", text.place.begin,
                            which + " names " + *text.path + ", the header " + *parent_name);
    }
    return named;
}

} // namespace coppice::vhd
