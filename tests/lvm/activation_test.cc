// Activation: counts, commands and locks in the order of sm, whatever fails.
#include "lvm/activation.h"
#include "lvm/error.h"
#include "lvm/names.h"
#include "tests/lvm/scripted_lvm.h"
#include "tests/support/temporary_directory.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace coppice::lvm::test {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;

/// A host whose devices are files.
struct Fixture {
    coppice::test::TemporaryDirectory directory;
    Scripted lvm{directory / "dev"};
    VolumeGroup group{lvm.tool, "VG"};
    DeviceMapper devices{lvm.tool};
    Activator activator{
        group, devices, lvm.locks, {.space = "lvm-SR", .counts = directory / "counts", .claims = directory / "claims"}};
    bool device = false;
    std::set<std::string> others; ///< devices of VHD-<this> besides VHD-a
    bool suspended = false;
    int open = 0;

    Fixture() {
        fs::create_directories(directory.path() / "dev/mapper");
        fs::create_directories(directory.path() / "dev/VG");
        lvm.runner.always("dmsetup info", [this] {
            std::string rows;
            if (device)
                rows =
                    "VG-VHD--a|LVM-x|" + std::to_string(open) + (suspended ? "|Suspended" : "|Active") + "|Writeable\n";
            for (const std::string& id : others)
                rows += "VG-VHD--" + id + "|LVM-" + id + "|0|Active|Writeable\n";
            return printed(rows.empty() ? "No devices found\n" : rows);
        });
    }

    std::string link() const { return directory / "dev/VG/VHD-a"; }
    std::string count() const {
        std::ifstream file{directory / "counts/lvm-SR/a"};
        return {std::istreambuf_iterator<char>{file}, {}};
    }
    void write_count(const std::string& text, const std::string& id = "a") const {
        fs::create_directories(directory.path() / "counts/lvm-SR");
        std::ofstream{directory / "counts/lvm-SR/a.new"} << text;
        fs::rename(directory / "counts/lvm-SR/a.new", directory / ("counts/lvm-SR/" + id)); // so that it is a new life
    }
    std::size_t claims() const {
        return fs::exists(directory / "claims")
                   ? static_cast<std::size_t>(std::distance(fs::directory_iterator{directory / "claims"}, {}))
                   : 0;
    }
    void appear() {
        device = true;
        std::ofstream{directory / "dev/mapper/VG-VHD--a"};
        fs::create_symlink(directory / "dev/mapper/VG-VHD--a", link());
    }
    void disappear() {
        device = false;
        fs::remove(directory / "dev/mapper/VG-VHD--a");
        fs::remove(link());
    }
    void appear_too(const std::string& id) {
        others.insert(id);
        std::ofstream{directory / ("dev/mapper/VG-VHD--" + id)};
        fs::create_symlink(directory / ("dev/mapper/VG-VHD--" + id), directory / ("dev/VG/VHD-" + id));
    }
    void expect_activation() {
        lvm.runner.expect("lvchange -ay VG/VHD-a", {}, [this] { appear(); });
    }
    void expect_deactivation() {
        lvm.runner.expect("lvchange -an VG/VHD-a", {}, [this] { disappear(); });
    }
    Activation activate() { return activator.activate("VHD-a", "a"); }
};

TEST(Activation, CountsUnderItsLockAndOutsideOfTheTurns) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    EXPECT_EQ(fixture.count(), "1 0\n");
    EXPECT_EQ(activation.node(), fixture.link());
    EXPECT_THAT(fixture.lvm.events,
                ElementsAre("take lvm-SR/a", "turn", "end of turn", "turn", "run lvchange -ay VG/VHD-a", "end of turn",
                            "turn", "end of turn", "give lvm-SR/a"));
    fixture.lvm.events.clear();
    fixture.expect_deactivation();
    EXPECT_EQ(activation.release(), Released::inactive);
    EXPECT_EQ(fixture.count(), "");
    EXPECT_FALSE(fs::exists(fixture.directory / "counts/lvm-SR")) << "sm removes the directory of the last count";
    EXPECT_THAT(fixture.lvm.events,
                ElementsAre("take lvm-SR/a", "turn", "end of turn", "turn", "run lvchange -an VG/VHD-a", "end of turn",
                            "turn", "end of turn", "give lvm-SR/a"));
    EXPECT_EQ(fixture.claims(), 0);
}

TEST(Activation, IsGivenBackByItsDestructor) {
    Fixture fixture;
    fixture.expect_activation();
    fixture.expect_deactivation();
    { const Activation activation = fixture.activate(); }
    EXPECT_EQ(fixture.count(), "");
}

TEST(Activation, HasItsDestructorSayWhatFails) {
    Fixture fixture;
    fixture.expect_activation();
    {
        const Activation activation = fixture.activate();
        fixture.lvm.locks.busy.insert("lvm-SR/a");
    }
    EXPECT_EQ(fixture.count(), "1 0\n");
}

TEST(Activation, MovesWithoutBeingGivenBackTwice) {
    Fixture fixture;
    fixture.expect_activation();
    fixture.expect_deactivation();
    Activation first = fixture.activate();
    Activation second = std::move(first);
    second.release();
    EXPECT_THROW(second.release(), std::logic_error);
}

TEST(Activation, AddsToWhatSmHasActive) {
    Fixture fixture;
    fixture.appear();
    fixture.write_count("0 1\n");
    Activation first = fixture.activate();
    EXPECT_EQ(fixture.count(), "1 1\n");
    Activation second = fixture.activate();
    EXPECT_EQ(fixture.count(), "2 1\n");
    EXPECT_EQ(second.release(), Released::counted);
    EXPECT_EQ(first.release(), Released::counted);
    EXPECT_EQ(fixture.count(), "0 1\n");
    EXPECT_THAT(fixture.lvm.runner.ran, IsEmpty());
}

TEST(Activation, BringsUpWhatIsCountedButNotThere) {
    Fixture fixture;
    fixture.write_count("3 0\n");
    fixture.expect_activation();
    EXPECT_EQ(fixture.activate().release(), Released::counted);
    EXPECT_EQ(fixture.count(), "3 0\n");
}

TEST(Activation, LinksToADeviceThatLvmHasNotLinkedTo) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvchange -ay VG/VHD-a", {}, [&] {
        fixture.appear();
        fs::remove(fixture.link());
        fs::create_symlink("/absent/dm-7", fixture.link());
    });
    const Activation activation = fixture.activate();
    EXPECT_EQ(fs::read_symlink(fixture.link()), fixture.directory / "dev/mapper/VG-VHD--a");
    fixture.expect_deactivation();
}

TEST(Activation, UndoesItsCountWhereLvmFails) {
    Fixture fixture;
    fixture.write_count("0 0\n");
    fixture.lvm.runner.expect("lvchange -ay VG/VHD-a", failed("Refusing activation of partial LV\n"));
    try {
        fixture.activate();
        FAIL();
    } catch (const CommandFailed& error) {
        EXPECT_THAT(error.what(), HasSubstr("activate LV: VG/VHD-a: lvchange: exit status 5: Refusing activation"));
    }
    EXPECT_EQ(fixture.count(), "");
    EXPECT_EQ(fixture.claims(), 0);
}

TEST(Activation, DoesNotBelieveASuccessWithoutADevice) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvchange -ay VG/VHD-a"); // as with "skip activation"
    EXPECT_THROW(fixture.activate(), Error);
    EXPECT_EQ(fixture.count(), "");
}

TEST(Activation, GivesWhatWasActiveTheSizeOfTheMetadata) {
    Fixture fixture;
    fixture.appear();
    fixture.lvm.runner.expect("lvchange -ay VG/VHD-a");
    fixture.lvm.runner.expect("lvchange --refresh VG/VHD-a");
    fixture.expect_deactivation();
    fixture.activate();
}

TEST(Activation, RemovesTheLvWithItsDevice) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    fixture.lvm.events.clear();
    fixture.lvm.runner.expect("lvremove -f VG/VHD-a", {}, [&] { fixture.device = false; });
    fixture.activator.remove("VHD-a", "a", &activation);
    EXPECT_THAT(fixture.lvm.events,
                ElementsAre("take lvm-SR/a", "turn", "run lvremove -f VG/VHD-a", "end of turn", "give lvm-SR/a"));
    EXPECT_EQ(fixture.count(), "");
    EXPECT_EQ(fixture.claims(), 0);
    EXPECT_FALSE(fs::exists(fs::symlink_status(fixture.link())));
}

TEST(Activation, IsGivenBackWhereTheLvCannotBeRemoved) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    const VgReport report = with(empty_group(), {linear("VHD-a", 1)});
    fixture.lvm.runner.always("lvm fullreport", [&] { return reported(report_json(report)); });
    for (int attempt = 0; attempt < 10; ++attempt)
        fixture.lvm.runner.expect("lvremove -f VG/VHD-a", failed("in use\n"));
    fixture.expect_deactivation();
    EXPECT_THROW(fixture.activator.remove("VHD-a", "a", &activation), CommandFailed);
    EXPECT_EQ(fixture.count(), "");
    EXPECT_EQ(fixture.claims(), 0);
}

TEST(Activation, IsGivenBackTogetherWithOthers) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvchange -ay VG/VHD-b", {}, [&] { fixture.appear_too("b"); });
    fixture.expect_activation();
    fixture.write_count("0 1\n", "c");
    fixture.appear_too("c");
    std::vector<Activation> activations;
    for (const char* const id : {"b", "c", "a"})
        activations.push_back(fixture.activator.activate(std::string{"VHD-"} + id, id));
    fixture.lvm.events.clear();
    fixture.lvm.runner.expect("lvchange -an VG/VHD-a VG/VHD-b", {}, [&] {
        fixture.disappear();
        fixture.others.erase("b");
    });
    fixture.activator.release_all(std::move(activations));
    EXPECT_EQ(fixture.count(), "");
    EXPECT_EQ(fixture.activator.counts().get("b"), RefCount{});
    EXPECT_EQ(fixture.activator.counts().get("c"), (RefCount{0, true}));
    EXPECT_EQ(fixture.claims(), 0);
    EXPECT_THAT(fixture.lvm.locks.held, IsEmpty());
}

TEST(Activation, LeavesNothingActiveWhereItFailsLater) {
    Fixture fixture;
    fixture.appear();
    fixture.lvm.runner.expect("lvchange -ay VG/VHD-a");
    fixture.lvm.runner.expect("lvchange --refresh VG/VHD-a", failed("no\n"));
    fixture.expect_deactivation();
    EXPECT_THROW(fixture.activate(), CommandFailed);
    EXPECT_EQ(fixture.count(), "");
}

TEST(Activation, RefusesASuspendedDevice) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvchange -ay VG/VHD-a", {}, [&] {
        fixture.appear();
        fixture.suspended = true;
    });
    fixture.expect_deactivation();
    EXPECT_THROW(fixture.activate(), Busy);
}

TEST(Activation, WaitsForNobodyWithoutItsLock) {
    Fixture fixture;
    fixture.lvm.locks.busy.insert("lvm-SR/a");
    EXPECT_THROW(fixture.activate(), Busy);
    EXPECT_EQ(fixture.count(), "");
}

TEST(Activation, ChangesNothingWhereTheCountCannotBeUnderstood) {
    for (const char* const text : {"", "x\n", "1\n", "1 2\n", "-1 0\n", "1 0 0\n"}) {
        Fixture fixture;
        fixture.write_count(text);
        EXPECT_THROW(fixture.activate(), Error) << text;
        EXPECT_EQ(fixture.count(), text);
    }
}

TEST(Activation, DeactivatesInSeveralAttempts) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    fixture.lvm.runner.expect("lvchange -an VG/VHD-a", failed("in use\n"));
    fixture.lvm.runner.expect("lvchange -an VG/VHD-a"); // says well, and leaves it
    fixture.expect_deactivation();
    EXPECT_EQ(activation.release(), Released::inactive);
    EXPECT_THAT(fixture.lvm.events, Contains("pause 1000").Times(2));
}

TEST(Activation, RemovesByHandWhatLvmLeaves) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    for (int attempt = 0; attempt < 10; ++attempt)
        fixture.lvm.runner.expect("lvchange -an VG/VHD-a");
    fixture.lvm.runner.expect("dmsetup remove VG-VHD--a", {}, [&] { fixture.device = false; });
    EXPECT_EQ(activation.release(), Released::inactive);
    EXPECT_FALSE(fs::exists(fs::symlink_status(fixture.link())));
    EXPECT_FALSE(fs::exists(fixture.directory / "dev/mapper/VG-VHD--a"));
}

TEST(Activation, SaysThatADeviceStays) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    for (int attempt = 0; attempt < 10; ++attempt)
        fixture.lvm.runner.expect("lvchange -an VG/VHD-a");
    fixture.lvm.runner.expect("dmsetup remove VG-VHD--a", failed("Device or resource busy\n", 1));
    try {
        activation.release();
        FAIL();
    } catch (const Error& error) {
        EXPECT_THAT(error.what(),
                    HasSubstr("deactivate LV: VG/VHD-a: remove device: VG-VHD--a: dmsetup: exit status 1"));
    }
}

TEST(Activation, LeavesWhatSomebodyHasOpen) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    fixture.open = 1;
    EXPECT_EQ(activation.release(), Released::still_open);
    EXPECT_EQ(fixture.count(), "");
    EXPECT_THAT(fixture.lvm.events, Contains("pause 1000").Times(1));
}

TEST(Activation, TakesNothingFromACountThatSmHasBegunAnew) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    fixture.write_count("1 1\n");
    EXPECT_EQ(activation.release(), Released::counted);
    EXPECT_EQ(fixture.count(), "1 1\n");
}

TEST(Activation, FollowsItsLvThroughARenaming) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    fixture.lvm.events.clear();
    fixture.lvm.runner.expect("lvrename VG VHD-a VHD-OLD_a");
    fixture.activator.rename("VHD-a", "a", "VHD-OLD_a", "OLD_a", &activation);
    EXPECT_THAT(fixture.lvm.events,
                ElementsAre("take lvm-SR/OLD_a", "take lvm-SR/a", "turn", "run lvrename VG VHD-a VHD-OLD_a",
                            "end of turn", "give lvm-SR/a", "give lvm-SR/OLD_a"));
    EXPECT_EQ(fixture.count(), "");
    EXPECT_EQ(fixture.activator.counts().get("OLD_a"), (RefCount{1, false}));
    EXPECT_EQ(activation.lv(), "VHD-OLD_a");
    EXPECT_EQ(fixture.claims(), 1);
    fixture.device = false; // nobody has it active under the new name here
    EXPECT_EQ(activation.release(), Released::inactive);
    EXPECT_EQ(fixture.activator.counts().get("OLD_a"), RefCount{});
}

TEST(Activation, DoesNotRenameOntoACount) {
    Fixture fixture;
    fixture.write_count("0 1\n");
    EXPECT_THROW(fixture.activator.rename("VHD-b", "b", "VHD-a", "a", nullptr), Busy);
    EXPECT_THAT(fixture.lvm.runner.ran, IsEmpty());
}

TEST(Activation, SetsPermissionsUnderTheirLock) {
    Fixture fixture;
    fixture.lvm.runner.expect("lvchange -p r VG/VHD-a");
    fixture.activator.set_permission("VHD-a", Permission::read_only);
    EXPECT_THAT(fixture.lvm.events, ElementsAre("take lvm-SR/lvchange-p", "turn", "run lvchange -p r VG/VHD-a",
                                                "end of turn", "give lvm-SR/lvchange-p"));
}

/// Activates in a process that ends without giving back.
void activate_and_die(Fixture& fixture) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
        const Claims claims{fixture.directory / "claims"};
        const RefCounts counts{fixture.directory / "counts", "lvm-SR"};
        counts.set("a", {counts.get("a").normal + 1, counts.get("a").binary});
        const Claim claim = claims.make("VHD-a", "a", counts.life("a").value());
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_EQ(status, 0);
}

TEST(Recovery, GivesBackWhatAKilledProcessHadActive) {
    Fixture fixture;
    activate_and_die(fixture);
    EXPECT_EQ(fixture.count(), "1 0\n");
    fixture.appear();
    fixture.expect_deactivation();
    EXPECT_THAT(fixture.activator.recover(), ElementsAre("VHD-a"));
    EXPECT_EQ(fixture.count(), "");
    EXPECT_EQ(fixture.claims(), 0);
    EXPECT_THAT(fixture.activator.recover(), IsEmpty());
}

TEST(Recovery, LeavesWhatOthersCountOn) {
    Fixture fixture;
    fixture.write_count("1 1\n");
    activate_and_die(fixture);
    fixture.activator.recover();
    EXPECT_EQ(fixture.count(), "1 1\n");
}

TEST(Recovery, LeavesCountsThatSmHasBegunAnew) {
    Fixture fixture;
    activate_and_die(fixture);
    fixture.write_count("1 0\n");
    fixture.activator.recover();
    EXPECT_EQ(fixture.count(), "1 0\n");
    EXPECT_EQ(fixture.claims(), 0);
}

TEST(Recovery, LeavesWhatLivingProcessesHave) {
    Fixture fixture;
    fixture.expect_activation();
    Activation activation = fixture.activate();
    EXPECT_THAT(fixture.activator.recover(), IsEmpty());
    EXPECT_EQ(fixture.count(), "1 0\n");
    fixture.expect_deactivation();
}

TEST(Recovery, ComesBackToWhatItCouldNotLock) {
    Fixture fixture;
    activate_and_die(fixture);
    fixture.lvm.locks.busy.insert("lvm-SR/a");
    EXPECT_THAT(fixture.activator.recover(), IsEmpty());
    fixture.lvm.locks.busy.clear();
    EXPECT_THAT(fixture.activator.recover(), ElementsAre("VHD-a"));
}

TEST(Recovery, RemovesClaimsThatSayNothing) {
    Fixture fixture;
    fs::create_directories(fixture.directory.path() / "claims");
    std::ofstream{fixture.directory / "claims/odd"} << "VHD-a\n";
    EXPECT_THAT(fixture.activator.recover(), IsEmpty());
    EXPECT_EQ(fixture.claims(), 0);
}

} // namespace
} // namespace coppice::lvm::test
