// Reading LVs through their extents: where the bytes are, what is refused, and when a reading counts.
#include "lvm/error.h"
#include "lvm/inactive_reader.h"
#include "lvm/names.h"
#include "tests/lvm/scripted_lvm.h"
#include "tests/support/memory_device.h"
#include "tests/support/temporary_directory.h"

#include <cstring>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

namespace coppice::lvm::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// As it comes out of a report.
VgReport parsed(const VgReport& report) {
    return parse_report(report_json(report), report.name);
}

LvRow with_segments(const std::string& name,
                    const std::vector<std::tuple<std::uint64_t, int, std::uint64_t>>& segments) {
    LvRow row{.name = name, .uuid = "lvlvlv-" + name};
    Extents end;
    for (const auto& [length, pv, first] : segments) {
        row.segments.push_back({.start = end,
                                .length = Extents{length},
                                .type = "linear",
                                .devices = "/dev/pv" + std::to_string(pv) + "(" + std::to_string(first) + ")"});
        end += Extents{length};
    }
    row.size = 4_MiB * end.count();
    return row;
}

std::string reason(const VgReport& report, const std::string& lv) {
    try {
        ExtentMap::of(report, report.at(lv));
    } catch (const Unsupported& error) {
        return error.what();
    }
    return "none";
}

TEST(ExtentMap, JoinsWhatLiesInOnePiece) {
    const VgReport report =
        parsed(with(empty_group(), {with_segments("a", {{2, 0, 10}, {3, 0, 12}, {1, 1, 15}, {1, 0, 15}})}));
    const ExtentMap map = ExtentMap::of(report, report.at("a"));
    EXPECT_EQ(map.size(), 28_MiB);
    ASSERT_EQ(map.pieces().size(), 3);
    EXPECT_EQ(map.pieces()[0].length, 20_MiB);
    EXPECT_EQ(map.pieces()[0].place, 1_MiB + 40_MiB);
    EXPECT_EQ(map.pieces()[1].pv, 1);
    EXPECT_EQ(map.pieces()[2].offset, 24_MiB);
    const auto parts = map.locate({19_MiB, 25_MiB});
    ASSERT_EQ(parts.size(), 3);
    EXPECT_EQ(parts[0].place, 60_MiB);
    EXPECT_EQ(parts[0].length, 1_MiB);
    EXPECT_EQ(parts[1].length, 4_MiB);
    EXPECT_EQ(parts[2].length, 1_MiB);
    EXPECT_THAT(map.locate({5_MiB, 5_MiB}), IsEmpty());
    EXPECT_THROW(map.locate({27_MiB, 29_MiB}), std::logic_error);
}

TEST(ExtentMap, SaysWhyItReadsNothingElse) {
    LvRow striped = linear("striped", 2), lost = linear("lost", 2), origin = linear("origin", 2, 0, 9);
    striped.segments[0].type = "striped";
    lost.segments[0].devices = "[unknown](0)";
    origin.kind = 'o';
    const VgReport report = parsed(with(empty_group(), {striped, lost, origin}));
    EXPECT_THAT(reason(report, "striped"), HasSubstr("VG/striped: it has a segment of type striped"));
    EXPECT_THAT(reason(report, "lost"), HasSubstr("VG/lost: a segment lies on [unknown](0)"));
    EXPECT_THAT(reason(report, "origin"), HasSubstr("VG/origin: it is not a plain LV, but of kind o"));
}

TEST(ExtentMap, DoesNotReadFromAMissingPv) {
    VgReport report = with(empty_group(), {linear("a", 2, 1)});
    report.pvs[1].missing = true;
    report.missing_pvs = 1;
    report = parsed(report);
    EXPECT_THAT(reason(report, "a"), HasSubstr("not a PV that is there"));
}

/// A PV in memory with its label and random bytes behind it.
std::shared_ptr<const BlockDevice> pv_device(const PvRow& pv, std::uint64_t seed, Bytes size) {
    std::vector<std::byte> bytes(size.count());
    std::mt19937_64 random{seed};
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
        const std::uint64_t word = random();
        std::memcpy(&bytes[i], &word, 8);
    }
    std::memset(bytes.data(), 0, 4096);
    std::string uuid = pv.uuid;
    std::erase(uuid, '-');
    std::memcpy(&bytes[512], "LABELONE\1\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0LVM2 001", 32);
    std::memcpy(&bytes[512 + 32], uuid.data(), 32);
    return coppice::test::memory_device(std::move(bytes), pv.name);
}

struct Fixture {
    Scripted lvm;
    VolumeGroup group{lvm.tool, "VG"};
    DeviceMapper devices{lvm.tool};
    VgReport now;
    std::string active;
    std::vector<std::shared_ptr<const BlockDevice>> pvs;
    int reports = 0, stamps = 0, opened = 0;

    Fixture() : now{empty_group()} {
        now.extents = Extents{20};
        for (PvRow& pv : now.pvs) {
            pv.extents = Extents{10};
            pvs.push_back(pv_device(pv, pvs.size(), pv.data_start + 40_MiB));
        }
        now.free = now.extents;
        now = with(now, {with_segments("VHD-a", {{1, 0, 9}, {2, 1, 3}, {1, 0, 0}}), linear("VHD-b", 1, 1, 9)});
        lvm.runner.always("lvm fullreport", [this] {
            ++reports;
            return reported(report_json(now));
        });
        lvm.runner.always("vgs", [this] {
            ++stamps;
            return reported(stamp_json(now));
        });
        lvm.runner.always("dmsetup info", [this] { return printed(active); });
    }

    PvOpener opener() {
        return [this](const PvRow& row) {
            ++opened;
            return pvs.at(row.name == "/dev/pv0" ? 0 : 1);
        };
    }
    void activate(const std::string& lv) {
        active += mapper_name("VG", lv) + "|" + mapper_uuid(now.uuid, now.at(lv).uuid) + "|0|Active|Writeable\n";
    }
};

TEST(InactiveReader, ReadsWhatLiesInTheExtents) {
    Fixture fixture;
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random{seed};
    InactiveReader reader{fixture.group, fixture.devices, fixture.opener()};
    const auto device = reader.open("VHD-a");
    EXPECT_EQ(device->name(), "VG/VHD-a");
    EXPECT_EQ(device->size(), 16_MiB);
    EXPECT_TRUE(device->fixed_size());
    std::vector<std::byte> expected;
    for (const auto& [pv, offset, length] : {std::tuple{0, 37_MiB, 4_MiB}, {1, 13_MiB, 8_MiB}, {0, 1_MiB, 4_MiB}})
        std::ranges::copy(fixture.pvs.at(static_cast<std::size_t>(pv))->read_at(offset, length),
                          std::back_inserter(expected));
    EXPECT_EQ(device->read_at(0_B, 16_MiB), expected);
    for (int round = 0; round < 200; ++round) {
        const std::size_t begin = random() % expected.size();
        const std::size_t length = random() % std::min<std::size_t>(expected.size() - begin, 5'000'000);
        const auto read = device->read_at(Bytes{begin}, Bytes{length});
        ASSERT_TRUE(std::ranges::equal(read, std::span{expected}.subspan(begin, length))) << begin << " " << length;
    }
    EXPECT_THAT(reader.finish(), IsEmpty());
}

TEST(InactiveReader, ScansByThreeCommandsAndActivatesNothing) {
    Fixture fixture;
    InactiveReader reader{fixture.group, fixture.devices, fixture.opener()};
    for (const LvRow& lv : reader.report().lvs)
        reader.open(lv.name)->read_at(0_B, 512_B);
    reader.finish();
    EXPECT_EQ(fixture.reports, 1);
    EXPECT_EQ(fixture.stamps, 1);
    EXPECT_EQ(fixture.opened, 2);
    EXPECT_THAT(fixture.lvm.events, ElementsAre("turn", "end of turn", "turn", "end of turn", "turn", "end of turn",
                                                "turn", "end of turn"));
}

TEST(InactiveReader, IsOnlyForReading) {
    Fixture fixture;
    InactiveReader reader{fixture.group, fixture.devices, fixture.opener()};
    const auto device = reader.open("VHD-b");
    const std::vector<std::byte> bytes(512);
    EXPECT_THROW(device->write_at(0_B, bytes), std::logic_error);
    EXPECT_THROW(device->zero({0_B, 512_B}), std::logic_error);
    EXPECT_THROW(device->set_size(0_B), std::logic_error);
    EXPECT_THROW(device->read_at(4_MiB, 1_B), std::logic_error);
    EXPECT_EQ(device->identity(), reader.open("VHD-b")->identity());
    EXPECT_FALSE(device->identity().same_object(reader.open("VHD-a")->identity()));
}

TEST(InactiveReader, ThrowsAwayWhatWasReadWhileTheGroupChanged) {
    Fixture fixture;
    InactiveReader reader{fixture.group, fixture.devices, fixture.opener()};
    reader.open("VHD-a");
    ++fixture.now.sequence_number;
    try {
        reader.finish();
        FAIL();
    } catch (const GroupChanged& error) {
        EXPECT_THAT(error.what(), HasSubstr("VG: changed meanwhile: sequence number 8 instead of 7"));
    }
}

TEST(InactiveReader, DoesNotBeginWithAReportOfAnEarlierState) {
    Fixture fixture;
    const VgReport before = fixture.group.report();
    EXPECT_NO_THROW((InactiveReader{fixture.group, fixture.devices, before, fixture.opener()}));
    ++fixture.now.sequence_number;
    EXPECT_THROW((InactiveReader{fixture.group, fixture.devices, before, fixture.opener()}), GroupChanged);
}

TEST(InactiveReader, SeesThatAnotherGroupHasTheName) {
    Fixture fixture;
    InactiveReader reader{fixture.group, fixture.devices, fixture.opener()};
    fixture.now.uuid[0] = 'z';
    EXPECT_THROW(reader.finish(), GroupChanged);
}

TEST(InactiveReader, SeesThatANodeLeadsToAnotherPv) {
    Fixture fixture;
    std::swap(fixture.pvs[0], fixture.pvs[1]);
    InactiveReader reader{fixture.group, fixture.devices, fixture.opener()};
    EXPECT_THROW(reader.open("VHD-b"), GroupChanged);
    fixture.pvs[1] = coppice::test::memory_device(std::vector<std::byte>(1 << 20), "/dev/pv1");
    EXPECT_THROW(reader.open("VHD-b"), GroupChanged);
}

TEST(InactiveReader, LeavesActiveLvsToTheirOwnDevices) {
    Fixture fixture;
    fixture.activate("VHD-a");
    InactiveReader reader{fixture.group, fixture.devices, fixture.opener()};
    EXPECT_TRUE(reader.is_active(reader.report().at("VHD-a")));
    EXPECT_THROW(reader.open("VHD-a"), Busy);
    EXPECT_NO_THROW(reader.open("VHD-b"));
    EXPECT_THROW(reader.open("VHD-none"), NotFound);
}

TEST(InactiveReader, TellsWhatHasBecomeActive) {
    Fixture fixture;
    InactiveReader reader{fixture.group, fixture.devices, fixture.opener()};
    reader.open("VHD-a");
    reader.open("VHD-b");
    fixture.activate("VHD-b");
    EXPECT_THAT(reader.finish(), ElementsAre("VHD-b"));
}

TEST(PvDevice, ReadsAnyStretchThroughAlignedMemory) {
    coppice::test::TemporaryDirectory directory;
    std::vector<std::byte> bytes(5 << 20);
    std::mt19937_64 random{1};
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random());
    const std::string path = directory / "pv";
    {
        const UniqueFd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
        ASSERT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    }
    // Not every file system of a build has O_DIRECT; tests in the VM have it.
    const PvDevice device{UniqueFd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)}, path};
    EXPECT_EQ(device.size(), 5_MiB);
    for (const auto& [offset, length] :
         {std::pair{0_B, 5_MiB}, {1_B, 1_B}, {511_B, 2_B}, {4095_B, 1_MiB + 2_B}, {5_MiB - 1_B, 1_B}}) {
        const auto read = device.read_at(offset, length);
        EXPECT_TRUE(std::ranges::equal(read, std::span{bytes}.subspan(offset.count(), length.count())))
            << offset.count();
    }
    EXPECT_THROW(device.read_at(5_MiB, 1_B), SystemError);
}

} // namespace
} // namespace coppice::lvm::test
