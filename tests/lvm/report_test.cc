// The report of a group: what is understood, what is refused, and that nothing that is said can do harm.
#include "lvm/device_mapper.h"
#include "lvm/error.h"
#include "tests/lvm/scripted_lvm.h"

#include <boost/algorithm/string/replace.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

namespace coppice::lvm::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// What parse_report() says against it.
std::string complaint(const std::string& json) {
    try {
        parse_report(json, "VG");
    } catch (const BadReport& error) {
        return error.what();
    }
    return "no complaint";
}

VgReport sample() {
    LvRow parts = linear("VHD-parts", 3, 0, 5);
    parts.segments.push_back({.start = Extents{3}, .length = Extents{2}, .type = "linear", .devices = "/dev/pv1(10)"});
    parts.size = 20_MiB;
    parts.tags = {"hidden", "vdi=x"};
    parts.permission = Permission::read_only;
    return with(empty_group(), {linear("VHD-one", 2, 1, 0), parts, linear("MGT", 1)});
}

/// The sample with one piece of its text replaced.
std::string altered(const std::string& from, const std::string& to) {
    std::string json = report_json(sample());
    EXPECT_THAT(json, HasSubstr(from));
    boost::replace_first(json, from, to);
    return json;
}

TEST(LvmReport, HasFiguresRowsAndSegments) {
    const VgReport report = parse_report(report_json(sample()), "VG");
    EXPECT_EQ(report.sequence_number, 7);
    EXPECT_EQ(report.extent_size, 4_MiB);
    EXPECT_EQ(report.free, Extents{192});
    EXPECT_EQ(report.extents_for(4_MiB + 1_B), Extents{2});
    ASSERT_EQ(report.pvs.size(), 2);
    EXPECT_EQ(report.pvs[1].data_start, 1_MiB);
    ASSERT_EQ(report.lvs.size(), 3);
    const LvRow& parts = report.at("VHD-parts");
    EXPECT_EQ(parts.size, 20_MiB);
    EXPECT_THAT(parts.tags, ElementsAre("hidden", "vdi=x"));
    EXPECT_TRUE(parts.has_tag("hidden"));
    EXPECT_FALSE(parts.has_tag("hid"));
    EXPECT_EQ(parts.permission, Permission::read_only);
    EXPECT_EQ(report.at("MGT").permission, Permission::writable);
    ASSERT_EQ(parts.segments.size(), 2);
    EXPECT_EQ(parts.segments[1].place.value().pv, 1);
    EXPECT_EQ(parts.segments[1].place.value().first, Extents{10});
    EXPECT_EQ(report.find("VHD-none"), nullptr);
    EXPECT_THROW(report.at("VHD-none"), NotFound);
}

TEST(LvmReport, SaysPlaceAndCauseOfWhatItRefuses) {
    for (const auto& [from, to, words] : std::initializer_list<std::tuple<const char*, const char*, const char*>>{
             {"\"vg_seqno\":\"7\"", "\"vg_seqno\":\"-1\"", "vg_seqno: \"-1\" is not a whole number"},
             {"\"vg_seqno\":\"7\"", "\"vg_seqno\":\"7.5\"", "is not a whole number"},
             {"\"vg_seqno\":\"7\"", "\"vg_seqno\":7", "vg_seqno: this field is missing"},
             {"\"vg_seqno\":\"7\", ", "", "vg_seqno: this field is missing"},
             {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"4.00m\"", "is not a whole number"},
             {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"0\"", "not whole sectors"},
             {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"18446744073709551104\"", "64 bits"},
             {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"8388608\"", "not of its size"},
             {"\"vg_name\":\"VG\"", "\"vg_name\":\"other\"", "another group"},
             {"\"vg_free_count\":\"192\"", "\"vg_free_count\":\"201\"", "more is free"},
             {"\"pv_count\":\"2\"", "\"pv_count\":\"3\"", "rows are missing"},
             {"\"lv_count\":\"3\"", "\"lv_count\":\"4\"", "rows are missing"},
             {"\"pv_pe_count\":\"100\"", "\"pv_pe_count\":\"99\"", "not those of the group"},
             {"\"pe_start\":\"1048576\"", "\"pe_start\":\"1048577\"", "/dev/pv0: data do not start"},
             {"\"lv_size\":\"20971520\"", "\"lv_size\":\"4096\"", "VHD-parts: its segments are not of its size"},
             {"\"seg_count\":\"2\"", "\"seg_count\":\"1\"", "VHD-parts: segments are missing"},
             {"\"seg_start_pe\":\"3\"", "\"seg_start_pe\":\"4\"", "VHD-parts: its segments have gaps"},
             {"\"lv_attr\":\"-ri-------\"", "\"lv_attr\":\"-\"", "attributes are cut"},
             {"\"lv_attr\":\"-ri-------\"", "\"lv_attr\":\"-x\"", "permission is unknown"},
             {"\"lv_name\":\"MGT\"", "\"lv_name\":\"VHD-one\"", "reported twice"},
             {"\"lv_name\":\"MGT\"", "\"lv_name\":\"\"", "no name"},
             {"\"seg\":[", "\"segs\":[", "seg: this section is missing"},
             {"]}]}", "]},{}]}", "not exactly one report"},
             {"{\"report\":", "  Retrying metadata scan.\n{\"report\":", "no complete JSON"},
         })
        EXPECT_THAT(complaint(altered(from, to)), HasSubstr(words)) << from << " -> " << to;
}

TEST(LvmReport, ForgivesTheLetterOfBytes) {
    EXPECT_EQ(parse_report(altered("\"lv_size\":\"20971520\"", "\"lv_size\":\"20971520B\""), "VG").at("VHD-parts").size,
              20_MiB);
}

TEST(LvmReport, IsNoneWhenItIsCut) {
    const std::string json = report_json(sample());
    for (std::size_t length = 0; length < json.size(); ++length)
        ASSERT_NE(complaint(json.substr(0, length)), "no complaint") << length;
}

TEST(LvmReport, KeepsOtherKindsOfSegmentsWithoutAPlace) {
    LvRow striped = linear("striped", 2);
    striped.segments[0].type = "striped";
    striped.segments[0].devices = "/dev/pv0(0),/dev/pv1(0)";
    LvRow lost = linear("lost", 2);
    lost.segments[0].devices = "[unknown](0)";
    LvRow outside = linear("outside", 2, 0, 99);
    LvRow snapshot = linear("a-snapshot", 2); // its size is that of its origin
    snapshot.kind = 's';
    snapshot.size = 400_MiB;
    const VgReport report = parse_report(report_json(with(empty_group(), {striped, lost, outside, snapshot})), "VG");
    for (const LvRow& lv : report.lvs)
        EXPECT_EQ(lv.segments.at(0).place.has_value(), lv.kind == 's') << lv.name;
    EXPECT_EQ(report.at("a-snapshot").kind, 's');
}

TEST(LvmReport, SurvivesAnyMutation) {
    const std::uint64_t seed = std::random_device{}();
    RecordProperty("seed", std::to_string(seed));
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random{seed};
    const std::string sound = report_json(sample());
    const std::string pieces = "\"{}[],:0123456789-B()/\\u\n";
    int understood = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::string json = sound;
        for (int change = 0, changes = 1 + static_cast<int>(random() % 4); change < changes; ++change) {
            const std::size_t at = random() % json.size();
            switch (random() % 4) {
            case 0:
                json[at] = static_cast<char>(random());
                break;
            case 1:
                json[at] = pieces[random() % pieces.size()];
                break;
            case 2:
                json.erase(at, 1 + random() % 40);
                break;
            default:
                json.insert(at, json.substr(random() % json.size(), random() % 200));
                break;
            }
            if (json.empty()) json = " ";
        }
        try {
            const VgReport report = parse_report(json, "VG");
            ++understood;
            for (const LvRow& lv : report.lvs)
                for (const Segment& segment : lv.segments) {
                    if (!segment.place) continue;
                    ASSERT_LE(segment.place->first + segment.length, report.pvs.at(segment.place->pv).extents) << json;
                }
        } catch (const BadReport&) {
        }
    }
    EXPECT_GT(understood, 0);
    EXPECT_LT(understood, 20'000);
}

TEST(LvmStamp, IsUuidAndSequenceNumber) {
    EXPECT_EQ(parse_stamp(stamp_json(sample()), "VG"), (Stamp{sample().uuid, 7}));
    EXPECT_THROW(parse_stamp(stamp_json(sample()), "other"), BadReport);
    EXPECT_THROW(parse_stamp("{\"report\":[{\"vg\":[]}]}", "VG"), BadReport);
}

TEST(DeviceList, HasNameOpenersAndState) {
    const auto rows = parse_devices("VG-b|LVM-x|0|Active|Read-only\nVG-a||2|Suspended|Writeable\n");
    ASSERT_EQ(rows.size(), 2);
    EXPECT_EQ(rows[0].name, "VG-a");
    EXPECT_EQ(rows[0].open_count, 2);
    EXPECT_TRUE(rows[0].suspended);
    EXPECT_EQ(rows[1].uuid, "LVM-x");
    EXPECT_TRUE(rows[1].read_only);
    EXPECT_TRUE(parse_devices("No devices found\n").empty());
    EXPECT_TRUE(parse_devices("").empty());
}

TEST(DeviceList, RefusesWhatItDoesNotKnow) {
    for (const char* const line :
         {"VG-a", "VG-a|u|0|Active", "VG-a|u|0|Active|Writeable|x", "VG-a|u|x|Active|Writeable",
          "VG-a|u|0|Busy|Writeable", "VG-a|u|0|Active|?", "|u|0|Active|Writeable"})
        EXPECT_THROW(parse_devices(line), BadReport) << line;
}

} // namespace
} // namespace coppice::lvm::test
