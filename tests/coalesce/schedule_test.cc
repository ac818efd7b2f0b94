#include "coalesce/schedule.h"
#include "tests/coalesce/plan_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace coppice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Minute {
    const char* window;
    unsigned minute;
    bool inside;
};

TEST(Window, KnowsItsMinutes) {
    for (const Minute& row : {
             Minute{"09:00-17:00", 9 * 60, true},
             {"09:00-17:00", 17 * 60 - 1, true},
             {"09:00-17:00", 17 * 60, false},
             {"09:00-17:00", 9 * 60 - 1, false},
             {"22:00-06:00", 22 * 60, true},
             {"22:00-06:00", 23 * 60 + 59, true},
             {"22:00-06:00", 0, true},
             {"22:00-06:00", 6 * 60 - 1, true},
             {"22:00-06:00", 6 * 60, false},
             {"22:00-06:00", 22 * 60 - 1, false},
             {"00:00-23:59", 23 * 60 + 59, false},
             {"23:59-00:00", 23 * 60 + 59, true},
             {"23:59-00:00", 0, false},
             {"05:00-05:00", 0, true},
             {"05:00-05:00", 5 * 60, true},
         })
        EXPECT_EQ(Window::parse(row.window).contains(row.minute), row.inside) << row.window << " at " << row.minute;
}

TEST(Window, IsWrittenAsItIsRead) {
    for (const std::string text : {"00:00-00:00", "22:05-06:30", "23:59-00:01"})
        EXPECT_EQ(Window::parse(text).to_text(), text);
    EXPECT_EQ(Window::parse("22:05-06:30"), (Window{22 * 60 + 5, 6 * 60 + 30}));
}

TEST(Window, TakesNothingElse) {
    for (const std::string text :
         {"", "22-6", "22:00", "2:00-06:00", "22:00-6:00", "22:00 06:00", "22:00-06:00 ", " 22:00-06:00", "24:00-06:00",
          "22:60-06:00", "22:00-06:0a", "-1:00-06:00", "+1:00-06:00", "22:00-24:00", "22.00-06.00"}) {
        try {
            Window::parse(text);
            FAIL() << text;
        } catch (const std::invalid_argument& error) {
            EXPECT_THAT(error.what(), HasSubstr("\"" + text + "\""));
        }
    }
}

TEST(Rfc3339, IsUtc) {
    EXPECT_EQ(rfc3339(0), "1970-01-01T00:00:00Z");
    EXPECT_EQ(rfc3339(1764072000), "2025-11-25T12:00:00Z");
    EXPECT_EQ(rfc3339(253402300799), "9999-12-31T23:59:59Z");
    EXPECT_EQ(rfc3339(253402300800), "never");
}

// ---- admission

constexpr UnixSeconds noon = 1764072000;
constexpr WallTime at_noon{noon, 12 * 60};
constexpr std::string_view three_trees = "a hidden vhd data=0-64M\n a-leaf vhd data=0-1M\n"
                                         "b hidden vhd data=0-64M\n b-leaf vhd data=0-1M\n"
                                         "dead hidden vhd physical=10M\n"
                                         "bad hidden vhd state=damaged\n bad-leaf vhd\n";

Admission admitted(const std::string& world_text, const Schedule& schedule, const WallTime& time = at_noon) {
    const auto world = test::parse_world(world_text);
    return admit(world.plan(), world.tree, world.free_space, schedule, time);
}

std::vector<std::string> vdis(const Plan& plan) {
    std::vector<std::string> result;
    for (const Step& step : plan.steps)
        result.push_back(step.vdi);
    return result;
}

std::map<std::string, std::string> reasons(const Plan& plan) {
    std::map<std::string, std::string> result;
    for (const Skipped& skipped : plan.skipped)
        result[skipped.vdi] = skipped.reason;
    return result;
}

Schedule paused(Pause pause) {
    Schedule schedule;
    schedule.pause = std::move(pause);
    return schedule;
}

Schedule window(const std::string& text) {
    Schedule schedule;
    schedule.window = Window::parse(text);
    return schedule;
}

TEST(Admit, LetsAllPassAtItsTime) {
    const auto world = test::parse_world(std::string{three_trees});
    for (const Schedule& schedule :
         {Schedule{}, window("09:00-17:00"), window("12:00-12:01"), paused({noon, false, "root", "over"}),
          paused({noon - 1, false, "root", "over"})}) {
        const Admission admission = admit(world.plan(), world.tree, world.free_space, schedule, at_noon);
        EXPECT_EQ(admission.plan, world.plan());
        EXPECT_THAT(admission.dangers, IsEmpty());
        EXPECT_EQ(admission.look_again, std::nullopt);
    }
}

TEST(Admit, PauseHoldsEverythingCollectionsToo) {
    const Admission admission = admitted(std::string{three_trees}, paused({noon + 90, false, "root", "backup"}));
    EXPECT_THAT(vdis(admission.plan), IsEmpty());
    EXPECT_EQ(reasons(admission.plan), (std::map<std::string, std::string>{{"a", "paused"},
                                                                           {"a-leaf", "paused"},
                                                                           {"b", "paused"},
                                                                           {"b-leaf", "paused"},
                                                                           {"bad", "image-damaged"},
                                                                           {"bad-leaf", "image-damaged"},
                                                                           {"dead", "paused"}}));
    EXPECT_EQ(admission.plan.skipped.front().text, "the SR is paused by root until 2025-11-25T12:01:30Z: backup");
    EXPECT_EQ(admission.look_again, noon + 90);
}

TEST(Admit, PauseWithoutEndIsNotLookedAtAgain) {
    const Admission admission = admitted(std::string{three_trees}, paused({std::nullopt, false, "", ""}));
    EXPECT_EQ(admission.plan.skipped.front().text, "the SR is paused until somebody resumes it");
    EXPECT_EQ(admission.look_again, std::nullopt);
}

TEST(Admit, WindowHoldsEverythingUntilItBegins) {
    const Admission admission = admitted(std::string{three_trees}, window("22:00-06:00"), {noon + 17, 12 * 60});
    EXPECT_THAT(vdis(admission.plan), IsEmpty());
    EXPECT_EQ(reasons(admission.plan).at("dead"), "outside-window");
    EXPECT_EQ(admission.plan.skipped.front().text, "work begins between 22:00 and 06:00 only");
    EXPECT_EQ(admission.look_again, noon + 10 * 3600);
}

TEST(Admit, WindowOfTomorrowBeginsTomorrow) {
    EXPECT_EQ(admitted(std::string{three_trees}, window("11:00-11:30")).look_again, noon + 23 * 3600);
    EXPECT_EQ(admitted(std::string{three_trees}, window("12:01-12:00")).look_again, noon + 60);
}

TEST(Admit, PauseIsToldRatherThanTheWindow) {
    Schedule schedule = window("22:00-06:00");
    schedule.pause = Pause{noon + 60, false, "root", ""};
    const Admission admission = admitted(std::string{three_trees}, schedule);
    EXPECT_EQ(reasons(admission.plan).at("dead"), "paused");
    EXPECT_EQ(admission.look_again, noon + 60);
    schedule.pause->until = noon;
    EXPECT_EQ(reasons(admitted(std::string{three_trees}, schedule).plan).at("dead"), "outside-window");
}

// ---- danger: a deep chain

constexpr std::string_view deep_and_flat = "d1 hidden vhd data=0-64M\n"
                                           " d2 hidden vhd\n"
                                           "  d3 hidden vhd\n"
                                           "   d4 vhd\n"
                                           "    d5 vhd\n"
                                           "flat hidden vhd data=0-64M\n"
                                           " flat-leaf vhd\n"
                                           "dead hidden vhd\n";

Schedule deep_at(std::size_t line) {
    Schedule schedule = window("22:00-06:00");
    schedule.danger.chain_depth = line;
    return schedule;
}

TEST(AdmitInDanger, DeepChainsGoOn) {
    const Admission admission = admitted(std::string{deep_and_flat}, deep_at(5));
    for (const Step& step : admission.plan.steps)
        EXPECT_TRUE(step.vdi.starts_with("d") && step.vdi != "dead") << step.vdi;
    EXPECT_FALSE(admission.plan.steps.empty());
    EXPECT_EQ(reasons(admission.plan).at("flat"), "outside-window");
    EXPECT_EQ(reasons(admission.plan).at("dead"), "outside-window");
    EXPECT_FALSE(reasons(admission.plan).contains("d2"));
    EXPECT_THAT(admission.dangers,
                ElementsAre("The chain of d5 has 5 images and the danger line is 5, so that work on it goes on."));
    EXPECT_TRUE(admission.look_again);
}

TEST(AdmitInDanger, LineIsNotCrossedByOneLess) {
    const Admission admission = admitted(std::string{deep_and_flat}, deep_at(6));
    EXPECT_THAT(vdis(admission.plan), IsEmpty());
    EXPECT_THAT(admission.dangers, IsEmpty());
}

TEST(AdmitInDanger, PauseIsAbsoluteUnlessItSaysOtherwise) {
    Schedule schedule = deep_at(5);
    schedule.pause = Pause{noon + 60, false, "root", ""};
    EXPECT_THAT(vdis(admitted(std::string{deep_and_flat}, schedule).plan), IsEmpty());
    EXPECT_THAT(admitted(std::string{deep_and_flat}, schedule).dangers, IsEmpty());
    schedule.pause->until_danger = true;
    EXPECT_FALSE(admitted(std::string{deep_and_flat}, schedule).plan.steps.empty());
    EXPECT_EQ(reasons(admitted(std::string{deep_and_flat}, schedule).plan).at("dead"), "paused");
}

TEST(AdmitInDanger, WhatADeepStepBuildsOnComesAlong) {
    // Without dead the two images could not become one.
    const Admission admission =
        admitted("r hidden vhd data=0-64M\n leaf vhd\n dead hidden vhd\nother hidden vhd\n", deep_at(2));
    EXPECT_THAT(vdis(admission.plan), ElementsAre("dead", "leaf"));
    EXPECT_EQ(reasons(admission.plan), (std::map<std::string, std::string>{{"other", "outside-window"}}));
}

TEST(AdmitInDanger, GarbageHasNoChain) {
    EXPECT_THAT(vdis(admitted("g1 hidden vhd\n g2 hidden vhd\n  g3 hidden vhd\n", deep_at(2)).plan), IsEmpty());
}

// ---- danger: a full SR

const std::string full = "b-base hidden qcow2 size=4G data=0-640M physical=642M\n"
                         " b-leaf qcow2 size=4G data=640M-1280M physical=642M\n"
                         "dead1 hidden vhd physical=300M\n"
                         "dead2 hidden vhd physical=400M\n"
                         "dead3 hidden vhd physical=500M\n";

TEST(AdmitInDanger, FullSrIsCollectedUntilTheCheapestStepFits) {
    const Admission admission = admitted("free 10M\n" + full, window("22:00-06:00"));
    EXPECT_THAT(vdis(admission.plan), ElementsAre("dead1", "dead2"));
    EXPECT_EQ(reasons(admission.plan).at("dead3"), "outside-window");
    EXPECT_EQ(reasons(admission.plan).at("b-leaf"), "outside-window");
    EXPECT_THAT(admission.dangers, ElementsAre(HasSubstr("Only 10 MiB are free")));
}

TEST(AdmitInDanger, RoomySrWaits) {
    EXPECT_THAT(vdis(admitted("free 1G\n" + full, window("22:00-06:00")).plan), IsEmpty());
}

TEST(AdmitInDanger, WhatDoesNotFitAtAllWaitsForRoomToo) {
    const std::string world = "free 10M\n" + full.substr(0, full.find("dead2")); // the plan skips the merge: no-space
    EXPECT_EQ(reasons(test::parse_world(world).plan()).at("b-leaf"), "no-space");
    EXPECT_THAT(vdis(admitted(world, window("22:00-06:00")).plan), ElementsAre("dead1"));
}

TEST(AdmitInDanger, MergesThatNeedNoSpaceMakeRoomAfterGarbage) {
    // s merges in place and frees 70 MiB.
    const std::string world = "free 1M\n" + full.substr(0, full.find("dead1")) +
                              "s-base hidden vhd size=4G data=0-64M physical=70M\n"
                              " s-leaf vhd size=4G data=0-2M physical=700M\n"
                              "dead hidden vhd physical=10M\n";
    EXPECT_THAT(vdis(admitted(world, window("22:00-06:00")).plan), ElementsAre("dead", "s-leaf"));
}

TEST(AdmitInDanger, DeepStepThatDoesNotFitGetsRoom) {
    Schedule schedule = deep_at(2);
    EXPECT_THAT(vdis(admitted("free 10M\n" + full, schedule).plan), ElementsAre("dead1", "dead2", "b-base"));
    const auto dangers = admitted("free 10M\n" + full, schedule).dangers;
    EXPECT_THAT(dangers, ElementsAre(HasSubstr("chain of b-leaf"), HasSubstr("Only 10 MiB are free")));
}

} // namespace
} // namespace coppice
