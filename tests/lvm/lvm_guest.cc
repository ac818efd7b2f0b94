// Real LVM and device-mapper, in the VM that guest_test.py starts: two empty disks are /dev/vmdisk0 and 1. Every case
// begins with an empty group and has to leave nothing active, counted or locked.
#include "format/base/file_device.h"
#include "lvm/error.h"
#include "lvm/names.h"
#include "tests/lvm/guest_host.h"
#include "tests/support/run_program.h"

#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <sys/wait.h>

namespace coppice::lvm::test {

std::mt19937_64 random_source;

namespace {

namespace fs = std::filesystem;
using coppice::test::must_run;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LvmGuest : public testing::Test {
protected:
    LvmGuest() { make_group(); }
    void TearDown() override {
        EXPECT_THAT(host.active(), IsEmpty());
        EXPECT_FALSE(fs::exists(counts_directory + "/lvm-" + sr));
        EXPECT_FALSE(fs::exists("/dev/" + group_name)) << "links were left";
        EXPECT_EQ(host.runner.count, host.server.turns()) << "a command ran without the fair lock";
        EXPECT_TRUE(!fs::exists("/run/coppice-claims") || fs::is_empty("/run/coppice-claims"));
    }

    std::string count(const std::string& uuid) const {
        std::ifstream file{counts_directory + "/lvm-" + sr + "/" + uuid};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

    std::vector<std::byte> read_activated(const std::string& lv) {
        Activation activation = host.activator.activate(lv, lv);
        const FileDevice device{UniqueFd{::open(activation.node().c_str(), O_RDONLY | O_CLOEXEC)}, lv};
        return device.read_at(0_B, device.size());
    }

    /// Random bytes all over the LV, written as a guest does; the activation ends.
    std::vector<std::byte> fill(const std::string& lv) {
        Activation activation = host.activator.activate(lv, lv);
        FileDevice device{UniqueFd{::open(activation.node().c_str(), O_RDWR | O_CLOEXEC)}, lv};
        std::vector<std::byte> bytes(device.size().count());
        for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
            const std::uint64_t word = random_source();
            std::memcpy(&bytes[i], &word, 8);
        }
        device.write_at(0_B, bytes);
        return bytes;
    }

    GuestHost host;
};

/// As LVM has them: 6-4-4-4-4-4-6.
std::string lv_uuid(int number) {
    std::string digits = std::to_string(number);
    digits.insert(0, 32 - digits.size(), '0');
    for (const std::size_t at : {26U, 22U, 18U, 14U, 10U, 6U})
        digits.insert(at, "-");
    return digits;
}

/// LVs of one to four segments in random places, each PV taken up without order.
std::vector<LvRow> random_lvs(int number, std::uint64_t extents_of_pv) {
    std::vector<SegmentPlace> places;
    for (std::size_t pv = 0; pv < 2; ++pv)
        for (std::uint64_t first = 0; first + 2 <= extents_of_pv; first += 2)
            places.push_back({pv, Extents{first}});
    std::ranges::shuffle(places, random_source);
    std::vector<LvRow> lvs;
    for (int i = 0; i < number; ++i) {
        LvRow lv{.name = "VHD-" + std::to_string(1000 + i), .uuid = lv_uuid(i + 1)};
        Extents end;
        for (std::uint64_t segment = 0, segments = 1 + random_source() % 4; segment < segments && !places.empty();
             ++segment) {
            const Extents length{1 + random_source() % 2};
            lv.segments.push_back({.start = end, .length = length, .type = "linear", .place = places.back()});
            places.pop_back();
            end += length;
        }
        lv.size = 4_MiB * end.count();
        if (random_source() % 3 == 0) lv.tags = {"hidden", "t" + std::to_string(i)};
        if (random_source() % 2 == 0) lv.permission = Permission::read_only;
        lvs.push_back(std::move(lv));
    }
    return lvs;
}

/// LVM reports neighbouring stretches in whatever pieces it likes; the map joins them.
void expect_same_map(const VgReport& report, const LvRow& expected) {
    const LvRow& found = report.at(expected.name);
    EXPECT_EQ(found.uuid, expected.uuid);
    EXPECT_EQ(found.size, expected.size);
    EXPECT_EQ(found.tags, expected.tags);
    EXPECT_EQ(found.permission, expected.permission);
    const auto pieces = ExtentMap::of(report, found).pieces();
    const auto wanted = ExtentMap::of(report, expected).pieces();
    ASSERT_EQ(pieces.size(), wanted.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        EXPECT_EQ(report.pvs[pieces[i].pv].name, "/dev/vmdisk" + std::to_string(wanted[i].pv));
        EXPECT_EQ(pieces[i].place, wanted[i].place);
        EXPECT_EQ(pieces[i].length, wanted[i].length);
    }
}

std::size_t pieces_of(const VgReport& report, const std::string& lv) {
    return ExtentMap::of(report, report.at(lv)).pieces().size();
}

TEST_F(LvmGuest, ReportsAndReads200LvsWithoutActivatingOne) {
    const auto lvs = random_lvs(200, host.group.report().pvs.at(0).extents.count());
    define_lvs(lvs);
    const int before = host.runner.count;
    InactiveReader reader{host.group, host.devices};
    ASSERT_EQ(reader.report().lvs.size(), 200);
    for (const LvRow& lv : lvs)
        expect_same_map(reader.report(), lv);
    for (const LvRow& lv : lvs)
        reader.open(lv.name)->read_at(lv.size - 512_B, 512_B);
    EXPECT_THAT(host.active(), IsEmpty());
    EXPECT_THAT(reader.finish(), IsEmpty());
    EXPECT_LE(host.runner.count - before, 5) << "of which one is of the test";
}

TEST_F(LvmGuest, ReadsMetadataAsLvmReportsThemAfterEveryChange) {
    define_lvs(random_lvs(20, 100));
    host.group.report();
    const std::vector<std::function<void()>> changes{
        [&] {
            host.group.create("VHD-new", Extents{3}, {"a", "b=c"});
        },
        [&] { host.group.edit("VHD-new", {.add_tags = {"hidden"}, .remove_tags = {"a"}}); },
        [&] { host.group.edit("VHD-new", {.permission = Permission::read_only}); },
        [&] { host.group.grow("VHD-1000", Extents{50}); },
        [&] { host.group.rename("VHD-1000", "OLD_VHD-1000"); },
        [&] { host.group.shrink("OLD_VHD-1000", Extents{7}); },
        [&] { host.group.remove("VHD-new"); },
    };
    for (std::size_t i = 0; i < changes.size(); ++i) {
        changes[i]();
        const int before = host.runner.count;
        VgReport read = host.group.report();
        EXPECT_EQ(host.group.stamp().sequence_number, read.sequence_number);
        EXPECT_EQ(host.runner.count, before) << "LVM was asked after change " << i;
        const VgReport reported = VolumeGroup{host.tool, group_name}.report();
        read.metadata_free = reported.metadata_free;
        EXPECT_EQ(read, reported) << "after change " << i;
    }
}

TEST_F(LvmGuest, AsksLvmWhereAStrangerHasSomethingElse) {
    host.group.report();
    must_run({"lvcreate", "-q", "-y", "-an", "-Zn", "-Wn", "-i", "2", "-l", "4", "-n", "striped", group_name});
    const int before = host.runner.count;
    EXPECT_EQ(host.group.report().at("striped").segments.at(0).type, "striped");
    EXPECT_GT(host.runner.count, before);
}

TEST_F(LvmGuest, AsksTheKernelWhatDmsetupSays) {
    for (const char* const lv : {"VHD-a", "VHD-b", "VHD-c"})
        host.group.create(lv, Extents{1});
    host.group.edit("VHD-b", {.permission = Permission::read_only});
    Activation first = host.activator.activate("VHD-a", "a"), second = host.activator.activate("VHD-b", "b");
    const UniqueFd open{::open(first.node().c_str(), O_RDONLY | O_CLOEXEC)};
    must_run({"dmsetup", "suspend", mapper_name(group_name, "VHD-b")});
    const auto found = devices_by_control("/dev/mapper/control");
    const CommandResult told = host.tool.run(host.tool.reading(
        {"dmsetup", "info", "-c", "--noheadings", "--separator", "|", "-o", "name,uuid,open,suspended,readonly"}));
    must_run({"dmsetup", "resume", mapper_name(group_name, "VHD-b")});
    ASSERT_TRUE(found);
    EXPECT_EQ(*found, parse_devices(told.output));
    EXPECT_EQ(found->size(), 2);
    EXPECT_FALSE(devices_by_control("/dev/null"));
}

TEST_F(LvmGuest, ReadsInactiveLvsAsTheyAreReadActivated) {
    define_lvs(random_lvs(4, 40));
    host.group.create("VHD-grown", Extents{1});
    // Whatever holes there are: at some size it meets what lies behind it.
    for (std::uint64_t size = 2; pieces_of(host.group.report(), "VHD-grown") == 1; ++size) {
        host.group.create("VHD-between-" + std::to_string(size), Extents{1});
        host.group.grow("VHD-grown", Extents{size});
    }
    std::map<std::string, std::vector<std::byte>> written;
    for (const LvRow& lv : host.group.report().lvs) {
        if (lv.permission == Permission::read_only) host.activator.set_permission(lv.name, Permission::writable);
        written[lv.name] = fill(lv.name);
    }
    InactiveReader reader{host.group, host.devices};
    std::size_t several_pvs = 0;
    for (const auto& [name, bytes] : written) {
        const auto device = reader.open(name);
        EXPECT_TRUE(device->read_at(0_B, device->size()) == bytes) << name;
        const Bytes begin =
            device->size() / 2 - 700_B; // aligned to nothing, and across extents where there are several
        const auto part = device->read_at(begin, 1400_B);
        EXPECT_TRUE(std::ranges::equal(part, std::span{bytes}.subspan(begin.count(), part.size()))) << name;
        several_pvs += ExtentMap::of(reader.report(), reader.report().at(name)).pieces().size() > 1 ? 1 : 0;
    }
    EXPECT_GT(several_pvs, 0);
    EXPECT_THAT(reader.finish(), IsEmpty());
    for (const auto& [name, bytes] : written)
        EXPECT_TRUE(read_activated(name) == bytes) << name;
}

TEST_F(LvmGuest, ReadsPastAnOldPageCacheOfThePv) {
    host.group.create("VHD-a", Extents{1});
    const VgReport report = host.group.report();
    const Piece piece = ExtentMap::of(report, report.at("VHD-a")).pieces().at(0);
    const std::string& pv = report.pvs.at(piece.pv).name;
    const FileDevice cached{UniqueFd{::open(pv.c_str(), O_RDONLY | O_CLOEXEC)}, pv}; // open, so that its cache stays
    cached.read_at(piece.place, piece.length);
    const auto bytes = fill("VHD-a");
    InactiveReader reader{host.group, host.devices};
    EXPECT_TRUE(reader.open("VHD-a")->read_at(0_B, piece.length) == bytes);
}

TEST_F(LvmGuest, NoticesThatTheGroupChangedBelowAReading) {
    host.group.create("VHD-a", Extents{1});
    InactiveReader reader{host.group, host.devices};
    const auto device = reader.open("VHD-a");
    // What lay here now belongs to somebody else.
    host.group.remove("VHD-a");
    host.group.create("VHD-b", Extents{1});
    device->read_at(0_B, 512_B);
    EXPECT_THROW(reader.finish(), GroupChanged);
    EXPECT_THROW((InactiveReader{host.group, host.devices, reader.report()}), GroupChanged);
    InactiveReader again{host.group, host.devices};
    again.open("VHD-b");
    const Activation activation = host.activator.activate("VHD-b", "b");
    EXPECT_THAT(again.finish(), ElementsAre("VHD-b"));
    InactiveReader third{host.group, host.devices};
    EXPECT_THROW(third.open("VHD-b"), Busy);
}

TEST_F(LvmGuest, CountsActivationsAsSmDoes) {
    host.group.create("VHD-a", Extents{1});
    Activation first = host.activator.activate("VHD-a", "a");
    EXPECT_EQ(count("a"), "1 0\n");
    EXPECT_EQ(first.node(), "/dev/" + group_name + "/VHD-a");
    EXPECT_TRUE(fs::is_block_file(first.node()));
    Activation second = host.activator.activate("VHD-a", "a");
    host.activator.counts().set("a", {2, true}); // sm attaches the disk
    EXPECT_EQ(second.release(), Released::counted);
    EXPECT_EQ(first.release(), Released::counted);
    EXPECT_EQ(count("a"), "0 1\n");
    EXPECT_THAT(host.active(), ElementsAre(mapper_name(group_name, "VHD-a")));
    Activation third = host.activator.activate("VHD-a", "a");
    host.activator.counts().set("a", {1, false}); // and detaches it
    {
        const auto lock = host.locks.take("lvm-" + sr, "a");
        EXPECT_THROW(host.activator.activate("VHD-a", "a"), Busy);
    }
    EXPECT_EQ(third.release(), Released::inactive);
    EXPECT_THROW(host.activator.activate("VHD-none", "none"), CommandFailed);
}

TEST_F(LvmGuest, LeavesOpenWhatIsOpenAndTakesItBackLater) {
    host.group.create("VHD-a", Extents{1});
    Activation activation = host.activator.activate("VHD-a", "a");
    UniqueFd user{::open(activation.node().c_str(), O_RDONLY | O_CLOEXEC)};
    EXPECT_EQ(activation.release(), Released::still_open);
    EXPECT_EQ(count("a"), "");
    EXPECT_EQ(host.active().size(), 1);
    user.reset();
    EXPECT_EQ(host.activator.activate("VHD-a", "a").release(), Released::inactive);
}

TEST_F(LvmGuest, GivesBackWhatAKilledProcessHadActive) {
    host.group.create("VHD-a", Extents{1});
    const pid_t pid = ::fork();
    if (pid == 0) {
        const Activation activation = host.activator.activate("VHD-a", "a");
        ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(count("a"), "1 0\n");
    EXPECT_EQ(host.active().size(), 1);
    EXPECT_THAT(host.activator.recover(), ElementsAre("VHD-a"));
    host.runner.count = host.server.turns(); // the other process had its own
}

TEST_F(LvmGuest, CorrectsATableThatAKilledCommandHasLeft) {
    host.group.create("VHD-a", Extents{1});
    const std::string name = mapper_name(group_name, "VHD-a");
    host.group.activate("VHD-a");
    must_run({"dmsetup", "suspend", name});
    must_run({"dmsetup", "load", name, "--table", "0 16384 linear /dev/vmdisk0 30720"});
    must_run({"dmsetup", "resume", name});
    const Activation activation = host.activator.activate("VHD-a", "a");
    const FileDevice device{UniqueFd{::open(activation.node().c_str(), O_RDONLY | O_CLOEXEC)}, "VHD-a"};
    EXPECT_EQ(device.size(), 4_MiB);
}

TEST_F(LvmGuest, MakesTheChangesOfSm) {
    host.group.create("VHD-a", Extents{3}, {"journaler", "x"});
    Activation activation = host.activator.activate("VHD-a", "a");
    host.activator.rename("VHD-a", "a", "VHD-OLD_a", "OLD_a", &activation);
    EXPECT_EQ(count("OLD_a"), "1 0\n");
    EXPECT_TRUE(fs::is_block_file(activation.node()));
    host.group.grow("VHD-OLD_a", Extents{5});
    host.group.shrink("VHD-OLD_a", Extents{2});
    host.group.edit("VHD-OLD_a", {.add_tags = {"hidden"}, .remove_tags = {"x"}, .permission = Permission::read_only});
    const VgReport report = host.group.report();
    ASSERT_EQ(report.lvs.size(), 1);
    const LvRow& lv = report.at("VHD-OLD_a");
    EXPECT_EQ(lv.size, 8_MiB);
    EXPECT_THAT(lv.tags, ElementsAre("hidden", "journaler"));
    EXPECT_EQ(lv.permission, Permission::read_only);
    EXPECT_EQ(report.free + Extents{2}, report.extents);
    EXPECT_TRUE(host.devices.find(mapper_name(group_name, "VHD-OLD_a"))->read_only);
    EXPECT_EQ(activation.release(), Released::inactive);
    host.group.make_durable(report);
    host.group.remove("VHD-OLD_a");
    EXPECT_THAT(host.group.report().lvs, IsEmpty());
}

TEST_F(LvmGuest, CountsOneChangeForOneCommand) {
    const std::uint64_t start = host.group.stamp().sequence_number;
    host.group.create("VHD-a", Extents{1}, {"x", "y"});
    host.group.edit("VHD-a", {.add_tags = {"z"}, .remove_tags = {"x"}, .permission = Permission::read_only});
    host.group.rename("VHD-a", "VHD-b");
    EXPECT_EQ(host.group.stamp().sequence_number, start + 3);
}

TEST_F(LvmGuest, UnderstandsFailuresOfRealCommands) {
    host.group.create("VHD-a", Extents{2});
    const Extents free = host.group.report().free;
    EXPECT_THROW(host.group.create("VHD-a", Extents{1}), CommandFailed);
    EXPECT_THROW(host.group.create("VHD-b", free + Extents{1}), NoSpace);
    EXPECT_THROW(host.group.grow("VHD-a", free + Extents{3}), NoSpace);
    EXPECT_NO_THROW(host.group.grow("VHD-a", free + Extents{2}));
    EXPECT_NO_THROW(host.group.grow("VHD-a", free + Extents{2})) << "it is done already";
    EXPECT_THROW(host.group.grow("VHD-a", Extents{1}), CommandFailed);
    EXPECT_NO_THROW(host.group.shrink("VHD-a", Extents{1}));
    EXPECT_THROW(host.group.grow("VHD-none", Extents{1}), NotFound);
    EXPECT_THROW(host.group.rename("VHD-none", "VHD-c"), NotFound);
    host.group.edit("VHD-a", {.permission = Permission::read_only});
    host.group.edit("VHD-a", {.add_tags = {"t"}, .permission = Permission::read_only});
    EXPECT_TRUE(host.group.report().at("VHD-a").has_tag("t"));
    EXPECT_NO_THROW(host.group.remove(std::vector<std::string>{"VHD-a"}));
    EXPECT_NO_THROW(host.group.remove("VHD-a"));
    must_run({"lvcreate", "-q", "-an", "-Wn", "-Zn", "-l", "2", "-i", "2", "-n", "striped", group_name});
    InactiveReader reader{host.group, host.devices};
    EXPECT_THROW(reader.open("striped"), Unsupported);
    Tool& tool = host.tool;
    EXPECT_THROW((VolumeGroup{tool, "absent"}.report()), CommandFailed);
}

} // namespace
} // namespace coppice::lvm::test

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    const char* const given = std::getenv("LVM_SEED");
    const std::uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
    std::printf("LVM_SEED=%llu\n", static_cast<unsigned long long>(seed));
    coppice::lvm::test::random_source.seed(seed);
    coppice::test::must_run({"pvcreate", "-q", "--metadatasize", "10M", "/dev/vmdisk0", "/dev/vmdisk1"});
    coppice::test::must_run({"vgcreate", "-q", coppice::lvm::test::group_name, "/dev/vmdisk0", "/dev/vmdisk1"});
    return RUN_ALL_TESTS();
}
