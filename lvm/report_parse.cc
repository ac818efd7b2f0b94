// Source of the fields: lvm fullreport(8), seen in LVM 2.03.16. Every value is a string; sections belong to one moment,
// as the command holds LVM's lock on the group over all of them.
#include "lvm/error.h"
#include "lvm/names.h"
#include "lvm/report.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <map>

namespace coppice::lvm {
namespace {

namespace json = boost::json;

// lvm fullreport insists on this section, too; the shortest row is asked for.
constexpr const char* unused_section_fields = "pvseg_start";

class Reader {
public:
    Reader(std::string_view text, const std::string& group) : group_{group} {
        boost::system::error_code error;
        document_ = json::parse(json::string_view{text.data(), text.size()}, error);
        if (error) fail("the whole", "no complete JSON: " + error.message());
    }

    [[noreturn]] void fail(const std::string& place, const std::string& cause) const {
        throw BadReport{group_, place, cause};
    }
    void require(bool good, const std::string& place, const char* cause) const {
        if (!good) fail(place, cause);
    }

    /// Of the only report.
    const json::array& section(const char* name) const {
        const json::object* const top = document_.if_object();
        const json::value* const reports = top != nullptr ? top->if_contains("report") : nullptr;
        const json::array* const list = reports != nullptr ? reports->if_array() : nullptr;
        require(list != nullptr && list->size() == 1 && list->front().is_object(), "report", "not exactly one report");
        const json::value* const rows = list->front().get_object().if_contains(name);
        require(rows != nullptr && rows->is_array(), name, "this section is missing");
        return rows->get_array();
    }

    const json::object& only_row(const char* name) const {
        const json::array& rows = section(name);
        require(rows.size() == 1 && rows.front().is_object(), name, "not exactly one row");
        return rows.front().get_object();
    }

    const json::object& row(const json::value& value, const char* section) const {
        require(value.is_object(), section, "a row is no object");
        return value.get_object();
    }

    std::string text(const json::object& row, const char* field) const {
        const json::value* const value = row.if_contains(field);
        if (value == nullptr || !value->is_string()) fail(field, "this field is missing");
        return std::string{value->get_string()};
    }

    /// A whole number, in bytes where it is a size: sizes are asked for without units, and one B is forgiven.
    std::uint64_t number(const json::object& row, const char* field) const {
        const std::string value = text(row, field);
        std::uint64_t number = 0;
        const char* const end = value.data() + value.size();
        const auto [rest, error] = std::from_chars(value.data(), end, number);
        const bool whole = rest == end || (rest + 1 == end && *rest == 'B');
        if (error != std::errc{} || !whole) fail(field, "\"" + value + "\" is not a whole number");
        return number;
    }

    std::uint64_t number_or_zero(const json::object& row, const char* field) const {
        return text(row, field).empty() ? 0 : number(row, field);
    }

private:
    const std::string& group_;
    json::value document_;
};

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> words;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(separator), text.size());
        if (end > 0) words.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

void parse_figures(const Reader& reader, VgReport& report) {
    const json::object& row = reader.only_row("vg");
    reader.require(reader.text(row, "vg_name") == report.name, "vg_name", "the report is about another group");
    report.uuid = reader.text(row, "vg_uuid");
    report.sequence_number = reader.number(row, "vg_seqno");
    report.extent_size = Bytes{reader.number(row, "vg_extent_size")};
    report.extents = Extents{reader.number(row, "vg_extent_count")};
    report.free = Extents{reader.number(row, "vg_free_count")};
    report.metadata_size = Bytes{reader.number_or_zero(row, "vg_mda_size")};
    report.metadata_free = Bytes{reader.number_or_zero(row, "vg_mda_free")};
    report.missing_pvs = reader.number(row, "vg_missing_pv_count");
    reader.require(report.extent_size.count() > 0 && is_aligned(report.extent_size, sector_size), "vg_extent_size",
                   "extents are not whole sectors");
    reader.require(report.free <= report.extents, "vg_free_count", "more is free than there is");
    report.to_bytes(report.extents); // throws where it exceeds 64 bits
}

void parse_pvs(const Reader& reader, VgReport& report) {
    Extents sum;
    for (const json::value& value : reader.section("pv")) {
        const json::object& row = reader.row(value, "pv");
        PvRow pv{.name = reader.text(row, "pv_name"),
                 .uuid = reader.text(row, "pv_uuid"),
                 .data_start = Bytes{reader.number_or_zero(row, "pe_start")},
                 .extents = Extents{reader.number(row, "pv_pe_count")},
                 .missing = !reader.text(row, "pv_missing").empty()};
        reader.require(!pv.name.empty() && !pv.uuid.empty(), "pv", "a PV has no name or no UUID");
        reader.require(pv.missing || is_aligned(pv.data_start, sector_size), pv.name, "data do not start at a sector");
        static_cast<void>(pv.data_start + report.to_bytes(pv.extents)); // throws where it exceeds 64 bits
        sum += pv.extents;
        report.pvs.push_back(std::move(pv));
    }
    reader.require(report.pvs.size() == reader.number(reader.only_row("vg"), "pv_count"), "pv", "rows are missing");
    reader.require(sum == report.extents, "pv", "the extents of the PVs are not those of the group");
}

/// "/dev/sdb(150)": a PV that is there and an extent of it.
std::optional<SegmentPlace> parse_place(std::string_view devices, Extents length, const VgReport& report) {
    const std::size_t open = devices.rfind('(');
    if (open == devices.npos || !devices.ends_with(')')) return std::nullopt;
    const std::string_view name = devices.substr(0, open);
    const std::string_view digits = devices.substr(open + 1, devices.size() - open - 2);
    std::uint64_t first = 0;
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), first);
    if (error != std::errc{} || rest != digits.data() + digits.size()) return std::nullopt;
    const auto pv =
        std::ranges::find_if(report.pvs, [&](const PvRow& row) { return !row.missing && row.name == name; });
    if (pv == report.pvs.end() || Extents{first} + length > pv->extents) return std::nullopt;
    return SegmentPlace{static_cast<std::size_t>(pv - report.pvs.begin()), Extents{first}};
}

/// By UUID of the LV.
std::map<std::string, std::vector<Segment>> parse_segments(const Reader& reader, const VgReport& report) {
    std::map<std::string, std::vector<Segment>> segments;
    for (const json::value& value : reader.section("seg")) {
        const json::object& row = reader.row(value, "seg");
        Segment segment{.start = Extents{reader.number(row, "seg_start_pe")},
                        .length = Extents{reader.number(row, "seg_size_pe")},
                        .type = reader.text(row, "segtype"),
                        .devices = reader.text(row, "devices")};
        if (segment.type == "linear") segment.place = parse_place(segment.devices, segment.length, report);
        segments[reader.text(row, "lv_uuid")].push_back(std::move(segment));
    }
    for (auto& [uuid, list] : segments)
        std::ranges::sort(list, {}, &Segment::start);
    return segments;
}

/// Of other kinds, such as snapshots, size and segments are of different things.
void require_gapless(const Reader& reader, const VgReport& report, const LvRow& lv) {
    if (lv.kind != '-') return;
    Extents end;
    for (const Segment& segment : lv.segments) {
        reader.require(segment.start == end && segment.length.count() > 0, lv.name,
                       "its segments have gaps or overlap");
        end += segment.length;
    }
    reader.require(report.to_bytes(end) == lv.size, lv.name, "its segments are not of its size");
}

/// Source: lvs(8), lv_attr: the first character is the type, the second the permission; R is "read-only now, although
/// the metadata say writable".
void parse_attributes(const Reader& reader, const std::string& attributes, LvRow& lv) {
    reader.require(attributes.size() >= 2, lv.name, "its attributes are cut");
    lv.kind = attributes[0];
    const char permission = attributes[1];
    reader.require(permission == 'w' || permission == 'r' || permission == 'R' || permission == '-', lv.name,
                   "its permission is unknown");
    lv.permission = permission == 'r' ? Permission::read_only : Permission::writable;
}

void parse_lvs(const Reader& reader, VgReport& report) {
    auto segments = parse_segments(reader, report);
    for (const json::value& value : reader.section("lv")) {
        const json::object& row = reader.row(value, "lv");
        LvRow lv{.name = reader.text(row, "lv_name"),
                 .uuid = reader.text(row, "lv_uuid"),
                 .size = Bytes{reader.number(row, "lv_size")},
                 .tags = split(reader.text(row, "lv_tags"), ',')};
        std::ranges::sort(lv.tags);
        reader.require(!lv.name.empty() && !lv.uuid.empty(), "lv", "an LV has no name or no UUID");
        parse_attributes(reader, reader.text(row, "lv_attr"), lv);
        if (const auto found = segments.find(lv.uuid); found != segments.end()) {
            lv.segments = std::move(found->second);
            segments.erase(found);
        }
        reader.require(lv.segments.size() == reader.number(row, "seg_count"), lv.name, "segments are missing");
        require_gapless(reader, report, lv);
        report.lvs.push_back(std::move(lv));
    }
    std::ranges::sort(report.lvs, {}, &LvRow::name);
    const auto twice = std::ranges::adjacent_find(report.lvs, {}, &LvRow::name);
    if (twice != report.lvs.end()) reader.fail(twice->name, "this LV is reported twice");
    reader.require(report.lvs.size() == reader.number(reader.only_row("vg"), "lv_count"), "lv", "rows are missing");
}

} // namespace

std::vector<std::string> report_command(const std::string& group) {
    return {"lvm",
            "fullreport",
            "--reportformat",
            "json",
            "--units",
            "b",
            "--nosuffix",
            "--configreport",
            "vg",
            "-o",
            "vg_name,vg_uuid,vg_seqno,vg_extent_size,vg_extent_count,vg_free_count,vg_mda_size,vg_mda_free,"
            "vg_missing_pv_count,pv_count,lv_count",
            "--configreport",
            "pv",
            "-o",
            "pv_name,pv_uuid,pe_start,pv_pe_count,pv_missing",
            "--configreport",
            "lv",
            "-o",
            "lv_name,lv_uuid,lv_size,lv_tags,lv_attr,seg_count",
            "--configreport",
            "seg",
            "-o",
            "lv_uuid,segtype,seg_start_pe,seg_size_pe,devices",
            "--configreport",
            "pvseg",
            "-o",
            unused_section_fields,
            group};
}

VgReport parse_report(std::string_view text, const std::string& group) {
    const Reader reader{text, group};
    VgReport report;
    report.name = group;
    try {
        parse_figures(reader, report);
        parse_pvs(reader, report);
        parse_lvs(reader, report);
    } catch (const std::overflow_error& error) {
        reader.fail("sizes", error.what());
    }
    return report;
}

std::vector<std::string> stamp_command(const std::string& group) {
    return {"vgs", "--reportformat", "json", "-o", "vg_name,vg_uuid,vg_seqno", group};
}

Stamp parse_stamp(std::string_view text, const std::string& group) {
    const Reader reader{text, group};
    const json::object& row = reader.only_row("vg");
    reader.require(reader.text(row, "vg_name") == group, "vg_name", "the report is about another group");
    return {reader.text(row, "vg_uuid"), reader.number(row, "vg_seqno")};
}

} // namespace coppice::lvm
