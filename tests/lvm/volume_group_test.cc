// Changes of a group: which commands run how, and what their failures are taken for.
#include "lvm/error.h"
#include "lvm/volume_group.h"
#include "tests/lvm/scripted_lvm.h"
#include "tests/support/temporary_directory.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coppice::lvm::test {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

struct Fixture {
    Scripted lvm;
    VolumeGroup group{lvm.tool, "VG"};
    VgReport now = with(empty_group(), {linear("VHD-a", 2)});
    int reports = 0;

    Fixture() {
        lvm.runner.always("lvm fullreport", [this] {
            ++reports;
            return reported(report_json(now));
        });
    }
};

std::string said(const std::function<void()>& act) {
    try {
        act();
    } catch (const CommandFailed& error) {
        return error.what();
    }
    return "no CommandFailed";
}

TEST(VolumeGroup, ReadsWithOneConfigurationAndChangesWithTheOther) {
    Fixture fixture;
    fixture.lvm.runner.expect("vgs --reportformat json -o vg_name,vg_uuid,vg_seqno VG",
                              reported(stamp_json(fixture.now)));
    fixture.lvm.runner.expect("lvrename VG VHD-a VHD-b");
    EXPECT_EQ(fixture.group.stamp().sequence_number, 7);
    fixture.group.rename("VHD-a", "VHD-b");
    const Command& reading = fixture.lvm.runner.ran[0];
    EXPECT_EQ(reading.kind, Command::Kind::reads);
    EXPECT_TRUE(reading.has_report);
    EXPECT_THAT(reading.environment, ElementsAre("LC_ALL=C", StartsWith("PATH="), "LVM_SUPPRESS_FD_WARNINGS=1",
                                                 "LVM_SYSTEM_DIR=/r", "EXTRA=1", "LVM_REPORT_FD=3"));
    const Command& changing = fixture.lvm.runner.ran[1];
    EXPECT_EQ(changing.arguments.front(), "/sbin/lvrename");
    EXPECT_EQ(changing.kind, Command::Kind::changes);
    EXPECT_THAT(changing.environment, Contains("LVM_SYSTEM_DIR=/m"));
    EXPECT_EQ(fixture.reports, 0) << "one metadata command per change";
}

TEST(VolumeGroup, RunsEachCommandInATurnOfItsOwn) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvrename VG VHD-a VHD-b");
    fixture.group.rename("VHD-a", "VHD-b");
    EXPECT_THAT(fixture.lvm.events, ElementsAre("turn", "run lvrename VG VHD-a VHD-b", "end of turn"));
}

TEST(VolumeGroup, DiscardsOnlyWhatIsGivenBackAndOnlyWhenAsked) {
    for (const bool discards : {false, true}) {
        Scripted lvm;
        Host host = lvm.tool.host();
        host.discards = discards;
        Tool tool{host, lvm.runner, lvm.turns, [](std::chrono::milliseconds) {}};
        const VolumeGroup group{tool, "VG"};
        const std::string option = discards ? " --config devices{issue_discards=1}" : "";
        lvm.runner.expect("lvremove -f VG/a" + option);
        group.remove("a");
        lvm.runner.expect("lvreduce -f -l 1 VG/VHD-a" + option);
        group.shrink("VHD-a", Extents{1});
        lvm.runner.expect("lvextend -l 9 VG/VHD-a");
        group.grow("VHD-a", Extents{9});
        lvm.runner.expect("lvrename VG VHD-a VHD-b");
        group.rename("VHD-a", "VHD-b");
    }
}

TEST(VolumeGroup, MakesEachChangeByOneCommand) {
    Fixture fixture;
    auto& runner = fixture.lvm.runner;
    runner.expect("lvcreate --type linear -an -Wn -Zn -n coalesce_x_1 -l 1 --addtag journaler VG");
    fixture.group.create("coalesce_x_1", Extents{1}, {"journaler"});
    runner.expect("lvremove -f VG/a VG/b");
    fixture.group.remove(std::vector<std::string>{"a", "b"});
    runner.expect("lvextend -l 9 VG/VHD-a");
    fixture.group.grow("VHD-a", Extents{9});
    runner.expect("lvreduce -f -l 1 VG/VHD-a");
    fixture.group.shrink("VHD-a", Extents{1});
    runner.expect("lvchange --addtag x --deltag y -p r VG/VHD-a");
    fixture.group.edit("VHD-a", {.add_tags = {"x"}, .remove_tags = {"y"}, .permission = Permission::read_only});
    fixture.group.edit("VHD-a", {});
    fixture.group.rename("VHD-a", "VHD-a");
    fixture.group.remove(std::vector<std::string>{});
}

TEST(VolumeGroup, PassesSettingsOnToLvmOnly) {
    Scripted lvm;
    Tool tool{Host{.settings = "devices{filter=[\"r|.*|\"]}"}, lvm.runner, lvm.turns, [](auto) {}};
    EXPECT_THAT(tool.reading({"lvs", "VG"}).arguments,
                ElementsAre("/sbin/lvs", "VG", "--config", "devices{filter=[\"r|.*|\"]}"));
    EXPECT_THAT(tool.reading({"dmsetup", "info"}).arguments, ElementsAre("/sbin/dmsetup", "info"));
}

TEST(VolumeGroup, RefusesNamesAndTagsBeforeAnythingRuns) {
    Fixture fixture;
    EXPECT_THROW(fixture.group.create("-f", Extents{1}), Unsupported);
    EXPECT_THROW(fixture.group.create("a", Extents{1}, {"a,b"}), Unsupported);
    EXPECT_THROW(fixture.group.remove("a b"), Unsupported);
    EXPECT_THROW(fixture.group.rename("VHD-a", ".."), Unsupported);
    EXPECT_THROW(fixture.group.grow("x_mlog", Extents{1}), Unsupported);
    EXPECT_THROW(fixture.group.edit("VHD-a", {.add_tags = {"@x"}}), Unsupported);
    EXPECT_THROW((VolumeGroup{fixture.lvm.tool, "--all"}), Unsupported);
    EXPECT_TRUE(fixture.lvm.events.empty());
}

TEST(VolumeGroup, CountsAsDoneWhatIsDoneInSpiteOfAFailure) {
    Fixture fixture;
    auto& runner = fixture.lvm.runner;
    fixture.now = with(empty_group(), {linear("VHD-b", 2)});
    runner.expect("lvrename VG VHD-a VHD-b", failed("killed\n", 128 + 9));
    EXPECT_NO_THROW(fixture.group.rename("VHD-a", "VHD-b"));
    runner.expect("lvremove -f VG/VHD-a", failed("not found\n"));
    EXPECT_NO_THROW(fixture.group.remove("VHD-a"));
    runner.expect("lvextend -l 2 VG/VHD-b", failed("New size matches existing size\n"));
    runner.expect("lvchange --refresh VG/VHD-b");
    EXPECT_NO_THROW(fixture.group.grow("VHD-b", Extents{2}));
    runner.expect("lvreduce -f -l 2 VG/VHD-b", failed("New size matches existing size\n"));
    runner.expect("lvchange --refresh VG/VHD-b");
    EXPECT_NO_THROW(fixture.group.shrink("VHD-b", Extents{2}));
    runner.expect("lvchange -p rw VG/VHD-b", failed("already writable\n"));
    EXPECT_NO_THROW(fixture.group.edit("VHD-b", {.permission = Permission::writable}));
    EXPECT_EQ(fixture.reports, 5);
}

TEST(VolumeGroup, EditsTagsOfWhatHasThePermissionAlready) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvchange --addtag hidden -p rw VG/VHD-a", failed("already writable\n"));
    fixture.lvm.runner.expect("lvchange --addtag hidden VG/VHD-a", {}, [&] { fixture.now.lvs[0].tags = {"hidden"}; });
    fixture.group.edit("VHD-a", {.add_tags = {"hidden"}, .permission = Permission::writable});
}

TEST(VolumeGroup, NeverTakesOverAnLvThatIsThere) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvcreate --type linear -an -Wn -Zn -n VHD-a -l 2 VG", failed("VHD-a already exists\n"));
    EXPECT_EQ(said([&] { fixture.group.create("VHD-a", Extents{2}); }),
              "create LV: VG/VHD-a: lvcreate: exit status 5: VHD-a already exists");
}

TEST(VolumeGroup, SaysThatSpaceIsMissingAndHowMuch) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvcreate --type linear -an -Wn -Zn -n new -l 199 VG",
                              failed("insufficient free space\n"));
    fixture.lvm.runner.expect("lvextend -l 201 VG/VHD-a", failed("Insufficient free space\n"));
    try {
        fixture.group.create("new", Extents{199});
        FAIL();
    } catch (const NoSpace& error) {
        EXPECT_EQ(error.needed(), 4_MiB * 199);
        EXPECT_EQ(error.available(), 4_MiB * 198);
    }
    try {
        fixture.group.grow("VHD-a", Extents{201});
        FAIL();
    } catch (const NoSpace& error) {
        EXPECT_EQ(error.needed(), 4_MiB * 199);
    }
}

TEST(VolumeGroup, TellsWhatIsNotThere) {
    Fixture fixture;
    auto& runner = fixture.lvm.runner;
    runner.expect("lvrename VG VHD-x VHD-y", failed("not found\n"));
    EXPECT_THROW(fixture.group.rename("VHD-x", "VHD-y"), NotFound);
    runner.expect("lvextend -l 2 VG/VHD-x", failed("not found\n"));
    EXPECT_THROW(fixture.group.grow("VHD-x", Extents{2}), NotFound);
    runner.expect("lvchange --addtag t VG/VHD-x", failed("not found\n"));
    EXPECT_THROW(fixture.group.edit("VHD-x", {.add_tags = {"t"}}), NotFound);
}

TEST(VolumeGroup, DoesNotShrinkByGrowingNorGrowByShrinking) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvextend -l 1 VG/VHD-a", failed("not larger than existing size\n"));
    EXPECT_THAT(said([&] { fixture.group.grow("VHD-a", Extents{1}); }), HasSubstr("not larger"));
    fixture.lvm.runner.expect("lvreduce -f -l 3 VG/VHD-a", failed("not less than existing size\n"));
    EXPECT_THAT(said([&] { fixture.group.shrink("VHD-a", Extents{3}); }), HasSubstr("not less"));
}

TEST(VolumeGroup, TriesAgainWhileAnotherHostWritesTheMetadata) {
    Fixture fixture;
    const CommandResult flux = failed("  Incorrect checksum in metadata area header on /dev/pv0 at 4096\n");
    auto& runner = fixture.lvm.runner;
    runner.expect("lvrename VG VHD-a VHD-b", flux);
    runner.expect("lvrename VG VHD-a VHD-b");
    fixture.group.rename("VHD-a", "VHD-b");
    EXPECT_THAT(fixture.lvm.events, Contains("pause 1000").Times(1));
    for (int attempt = 0; attempt < 10; ++attempt)
        runner.expect("lvrename VG VHD-a VHD-b", flux);
    EXPECT_THAT(said([&] { fixture.group.rename("VHD-a", "VHD-b"); }), HasSubstr("Incorrect checksum"));
    EXPECT_THAT(fixture.lvm.events, Contains("pause 1000").Times(10));
}

TEST(VolumeGroup, LooksWhetherItIsDoneBeforeItTriesAgain) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvextend -l 3 VG/VHD-a", failed("Checksum error\n"),
                              [&] { fixture.now = with(empty_group(), {linear("VHD-a", 3)}); });
    fixture.lvm.runner.expect("lvchange --refresh VG/VHD-a");
    fixture.group.grow("VHD-a", Extents{3});
}

TEST(VolumeGroup, ReadsAgainWhileAnotherHostWritesTheMetadata) {
    Scripted lvm;
    const VolumeGroup group{lvm.tool, "VG"};
    int attempt = 0;
    lvm.runner.always("lvm fullreport", [&] {
        return ++attempt < 3 ? failed("Incorrect checksum in metadata area header\n")
                             : reported(report_json(empty_group()));
    });
    EXPECT_EQ(group.report().sequence_number, 7);
    EXPECT_EQ(attempt, 3);
}

TEST(VolumeGroup, DoesNotBelieveAReportOfAFailedCommand) {
    Scripted lvm;
    const VolumeGroup group{lvm.tool, "VG"};
    lvm.runner.always("lvm fullreport", [&] {
        CommandResult result = reported(report_json(empty_group()));
        result.status = 5;
        result.errors = "  Volume group \"VG\" not found\n";
        return result;
    });
    EXPECT_EQ(said([&] { group.report(); }), "report: VG: lvm: exit status 5: Volume group \"VG\" not found");
}

TEST(VolumeGroup, DoesNotBelieveAReportThatWasCut) {
    Scripted lvm;
    const VolumeGroup group{lvm.tool, "VG"};
    lvm.runner.always("lvm fullreport", [&] {
        CommandResult result = reported(report_json(empty_group()));
        result.cut = true;
        return result;
    });
    EXPECT_THROW(group.report(), BadReport);
}

TEST(VolumeGroup, ReadsPastWarnings) {
    Scripted lvm;
    const VolumeGroup group{lvm.tool, "VG"};
    lvm.runner.always("lvm fullreport", [&] {
        CommandResult result = reported(report_json(empty_group()));
        result.errors = "  WARNING: Couldn't find device with uuid x.\n";
        result.output = "  Retrying metadata scan.\n";
        return result;
    });
    EXPECT_NO_THROW(group.report());
}

TEST(VolumeGroup, RemovesInSeveralAttemptsWhatSomebodyLooksAt) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvremove -f VG/VHD-a", failed("Logical volume VG/VHD-a in use.\n"));
    fixture.lvm.runner.expect("lvremove -f VG/VHD-a");
    fixture.group.remove("VHD-a");
    for (int attempt = 0; attempt < 10; ++attempt)
        fixture.lvm.runner.expect("lvremove -f VG/VHD-a", failed("Logical volume VG/VHD-a in use.\n"));
    EXPECT_THAT(said([&] { fixture.group.remove("VHD-a"); }), HasSubstr("in use"));
}

TEST(VolumeGroup, FlushesThePvsThatAreThere) {
    coppice::test::TemporaryDirectory directory;
    Fixture fixture;
    fixture.now.pvs[0].name = directory / "pv0";
    fixture.now.pvs[1].name = directory / "pv1";
    std::ofstream{fixture.now.pvs[0].name} << "x";
    EXPECT_THROW(fixture.group.make_durable(fixture.now), SystemError);
    fixture.now.pvs[1].missing = true;
    EXPECT_NO_THROW(fixture.group.make_durable(fixture.now));
}

} // namespace
} // namespace coppice::lvm::test
