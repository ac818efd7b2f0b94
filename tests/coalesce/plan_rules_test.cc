// Rules of the planner that a golden file would not show on its face.
#include "coalesce/plan_price.h"
#include "coalesce/plan_text.h"
#include "tests/coalesce/plan_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coppice {
namespace {

using test::parse_world;

std::string reason_of(const Plan& plan, const std::string& vdi) {
    for (const Skipped& skipped : plan.skipped)
        if (skipped.vdi == vdi) return skipped.reason;
    return "";
}

TEST(PlanRules, BytesAreMovedOnceWhenThePathMeetsInTheMiddle) {
    const Plan plan = parse_world("base hidden vhd size=10G data=0-1G\n"
                                  " mid hidden vhd size=10G data=1G-5G\n"
                                  "  leaf vhd size=10G data=512M-1G\n")
                          .plan();
    ASSERT_EQ(plan.steps.size(), 2U);
    EXPECT_EQ(plan.steps[0].direction, Direction::down);
    EXPECT_EQ(plan.steps[0].into, "mid");
    EXPECT_EQ(plan.steps[0].survivor, "leaf");
    EXPECT_EQ(plan.steps[0].parent_after, "base");
    EXPECT_EQ(plan.steps[1].direction, Direction::up);
    EXPECT_EQ(plan.steps[1].into, "leaf");
    EXPECT_EQ(plan.steps[1].parent_after, std::nullopt);
    EXPECT_EQ(plan.copy_bytes(), 512_MiB + 512_MiB); // the upper half of base is covered by the leaf
}

TEST(PlanRules, ZerosOfANewerLayerHideDataFromTheBill) {
    const Plan plan = parse_world("base hidden qcow2 data=0-64M\n leaf qcow2 zero=0-63M\n").plan();
    ASSERT_EQ(plan.steps.size(), 1U);
    EXPECT_EQ(plan.steps[0].direction, Direction::down);
    EXPECT_EQ(plan.steps[0].copy_bytes, 0_B);
}

TEST(PlanRules, EndOfAShorterLayerHidesOlderData) {
    const Plan plan = parse_world("policy direction=up\n"
                                  "base hidden qcow2 size=1G data=0-1G\n"
                                  " mid hidden qcow2 size=512M\n"
                                  "  leaf qcow2 size=1G data=0-1M\n")
                          .plan();
    ASSERT_EQ(plan.steps.size(), 1U);
    EXPECT_EQ(plan.steps[0].copy_bytes, 511_MiB);
}

TEST(PlanRules, VisibleNodeWithChildrenIsOnlyCompletedInPlace) {
    const std::string world = "base hidden vhd data=0-64M\n snap vhd data=0-1M\n  leaf vhd\n";
    const Plan plan = parse_world(world).plan();
    ASSERT_EQ(plan.steps.size(), 1U);
    EXPECT_EQ(plan.steps[0].into, "snap");
    EXPECT_EQ(plan.steps[0].direction, Direction::up);
    EXPECT_EQ(plan.steps[0].kind, StepKind::coalesce);
    EXPECT_TRUE(parse_world("policy direction=down\n" + world).plan().steps.empty());
}

TEST(PlanRules, OpenDescendantHoldsTheWholePath) {
    const Plan plan = parse_world("base hidden vhd\n fork hidden vhd\n  a vhd open=7:qemu\n  b vhd\n").plan();
    EXPECT_TRUE(plan.steps.empty());
    EXPECT_EQ(reason_of(plan, "base"), "attached");
    EXPECT_EQ(reason_of(plan, "fork"), "attached");
}

TEST(PlanRules, OpenSiblingHoldsNothing) {
    const Plan plan = parse_world("base hidden vhd\n a hidden vhd\n  a1 vhd\n b vhd open=7:qemu\n").plan();
    ASSERT_EQ(plan.steps.size(), 1U);
    EXPECT_EQ(plan.steps[0].parent_after, "base");
}

TEST(PlanRules, HiddenRawVolumeMayReceiveOrGive) {
    const std::string lvm = "base hidden raw size=1G data=0-900M\n fork hidden vhd data=0-1M\n  a vhd\n  b vhd\n";
    const Plan down = parse_world(lvm).plan();
    ASSERT_EQ(down.steps.size(), 1U);
    EXPECT_EQ(down.steps[0].into, "base");
    EXPECT_EQ(down.steps[0].relinked, (std::vector<std::string>{"a", "b"}));
    const Plan up = parse_world("policy direction=up\n" + lvm).plan();
    ASSERT_EQ(up.steps.size(), 1U);
    EXPECT_EQ(up.steps[0].into, "fork");
    EXPECT_EQ(up.steps[0].parent_after, std::nullopt);
}

TEST(PlanRules, Qcow2ChildNeverGetsAVhdParent) {
    const Plan plan = parse_world("base hidden vhd data=0-900M\n"
                                  " fork hidden qcow2 data=0-1M\n"
                                  "  a qcow2\n"
                                  "  b qcow2\n")
                          .plan();
    ASSERT_EQ(plan.steps.size(), 1U);
    EXPECT_EQ(plan.steps[0].into, "fork");
}

TEST(PlanRules, NameSetAsideBySmStopsTheLeafToo) {
    const Plan plan = parse_world("OLD_leaf vhd\nbase hidden vhd\n leaf vhd\n").plan();
    EXPECT_TRUE(plan.steps.empty());
    EXPECT_EQ(reason_of(plan, "leaf"), "sm-operation");
}

TEST(PlanRules, LeafMayBeRefusedByItself) {
    const Plan plan =
        parse_world("policy refuse=leaf,reset-on-boot\nbase hidden vhd\n mid hidden vhd\n  leaf vhd\n").plan();
    ASSERT_EQ(plan.steps.size(), 1U);
    EXPECT_EQ(plan.steps[0].kind, StepKind::coalesce);
    EXPECT_EQ(reason_of(plan, "leaf"), "reset-on-boot");
}

// A hold: the held one, what reads through it and what it reads through; a sibling subtree goes on.
TEST(PlanRules, HoldFreezesItsChainOnly) {
    const std::string tree = "base hidden vhd data=0-64M\n"
                             " a-mid hidden vhd data=0-1M\n"
                             "  a-fork hidden vhd\n"
                             "   a-one vhd\n"
                             "   a-two vhd\n"
                             " b-mid hidden vhd data=0-1M\n"
                             "  b-leaf vhd\n"
                             "  b-dead hidden vhd\n"
                             "other hidden vhd\n"
                             " other-leaf vhd\n";
    const Plan plan = parse_world("policy hold=a-mid,backup\n" + tree).plan();
    for (const std::string held : {"base", "a-mid", "a-fork", "a-one", "a-two"})
        EXPECT_EQ(reason_of(plan, held), "held") << held;
    std::vector<std::string> emptied;
    for (const Step& step : plan.steps)
        emptied.insert(emptied.end(), step.emptied.begin(), step.emptied.end());
    EXPECT_THAT(emptied, testing::UnorderedElementsAre("b-dead", "b-leaf", "other"));
    EXPECT_THAT(merge_candidates(parse_world(tree).tree, {}), testing::Contains("a-mid"));
}

TEST(PlanRules, HoldOfALeafNamesIt) {
    const Plan plan = parse_world("policy hold=leaf,backup\nbase hidden vhd\n leaf vhd\n").plan();
    EXPECT_THAT(plan.skipped, testing::ElementsAre(Skipped{"base", "held", "leaf: backup", "leaf", 0_B},
                                                   Skipped{"leaf", "held", "backup", "", 0_B}));
}

TEST(PlanRules, DamageNearbyIsToldRatherThanAHold) {
    const std::string tree = "base hidden vhd\n bad hidden vhd state=damaged\n leaf vhd\n";
    const Plan plan = parse_world("policy hold=leaf,backup hold=nobody,here\n" + tree).plan();
    EXPECT_EQ(reason_of(plan, "base"), "image-damaged");
    EXPECT_EQ(reason_of(plan, "bad"), "image-damaged");
    EXPECT_EQ(reason_of(plan, "leaf"), "held");
}

TEST(PlanRules, DelayedStepWaitsWithWhatBuildsUponIt) {
    const std::string tree = "base hidden vhd size=10G data=0-1G\n"
                             " mid hidden vhd size=10G data=1G-5G\n"
                             "  leaf vhd size=10G data=512M-1G\n";
    const Plan first = parse_world("policy retry=leaf,mid,disk-full\n" + tree).plan();
    EXPECT_TRUE(first.steps.empty());
    for (const std::string vdi : {"base", "mid", "leaf"})
        EXPECT_EQ(reason_of(first, vdi), "retry-later") << vdi;
    const Plan second = parse_world("policy retry=base,leaf,disk-full\n" + tree).plan();
    ASSERT_EQ(second.steps.size(), 1U);
    EXPECT_EQ(second.steps[0].into, "mid");
    EXPECT_THAT(second.skipped, testing::ElementsAre(Skipped{
                                    "base", "retry-later", "merging base into leaf has to wait: disk-full", "", 0_B}));
}

TEST(PlanRules, DelayedCollectionKeepsWhatItReadsThrough) {
    const Plan plan = parse_world("policy retry=dead,,busy\n"
                                  "base hidden vhd\n dead hidden vhd\n"
                                  "more hidden vhd\n")
                          .plan();
    ASSERT_EQ(plan.steps.size(), 1U);
    EXPECT_EQ(plan.steps[0].vdi, "more");
    EXPECT_EQ(reason_of(plan, "dead"), "retry-later");
    EXPECT_EQ(reason_of(plan, "base"), "retry-later");
}

// The other way of a group does not go around a delay.
TEST(PlanRules, DelayIsNotEvadedByASecondBestWay) {
    const std::string tree = "free 3M\n"
                             "base hidden qcow2 size=4G data=0-64M physical=66M\n"
                             " leaf qcow2 size=4G data=0-60M physical=62M\n";
    const Plan free_way = parse_world(tree).plan();
    ASSERT_EQ(free_way.steps.size(), 1U);
    EXPECT_EQ(free_way.steps[0].direction, Direction::down);
    const Plan plan = parse_world("policy retry=leaf,base,checksum\n" + tree).plan();
    EXPECT_TRUE(plan.steps.empty());
    EXPECT_EQ(reason_of(plan, "leaf"), "no-space");
}

TEST(PlanRules, SwitchedOffVdiDividesItsGroup) {
    const std::string tree = "base hidden vhd data=0-64M\n"
                             " low hidden vhd\n"
                             "  mid hidden vhd\n"
                             "   high hidden vhd\n"
                             "    leaf vhd\n";
    const Plan plan = parse_world("policy out=mid,coalesce-disabled\n" + tree).plan();
    ASSERT_EQ(plan.steps.size(), 2U);
    for (const Step& step : plan.steps) {
        EXPECT_TRUE(step.into == "base" || step.into == "leaf") << to_text(step);
        EXPECT_EQ(step.relinked, step.into == "base" ? std::vector<std::string>{"mid"} : std::vector<std::string>{});
        EXPECT_EQ(step.parent_after, step.into == "base" ? std::nullopt : std::optional<std::string>{"mid"});
    }
    EXPECT_THAT(plan.skipped, testing::ElementsAre(
                                  Skipped{"mid", "coalesce-disabled", "coalescing is switched off for it", "", 0_B}));
}

TEST(PlanRules, NeighbourOfASwitchedOffVdiIsToldSo) {
    const Plan plan = parse_world("policy out=base,gc-disabled\nbase hidden vhd\n leaf vhd\n").plan();
    EXPECT_TRUE(plan.steps.empty());
    EXPECT_EQ(reason_of(plan, "base"), "gc-disabled");
    EXPECT_EQ(reason_of(plan, "leaf"), "gc-disabled");
    EXPECT_EQ(plan.skipped.back().cause, "base");
}

TEST(PlanRules, GarbageCollectionCanBeSwitchedOff) {
    const std::string tree = "base hidden vhd\n leaf vhd\ndead hidden vhd\n";
    for (const std::string off : {"gc=false", "collect=false coalesce=false", "out=dead,gc-disabled coalesce=false"}) {
        const Plan plan = parse_world("policy " + off + "\n" + tree).plan();
        EXPECT_TRUE(plan.steps.empty()) << off;
        EXPECT_EQ(reason_of(plan, "dead"), "gc-disabled") << off;
        EXPECT_EQ(reason_of(plan, "leaf"), off == "gc=false" ? "gc-disabled" : "coalesce-disabled") << off;
    }
    const Plan collected = parse_world("policy out=dead,coalesce-disabled\ndead hidden vhd\n").plan();
    EXPECT_EQ(collected.steps.size(), 1U) << "only merging is switched off";
}

TEST(PlanRules, CandidatesAreExactlyWhatIsPriced) {
    const auto world = parse_world("base hidden vhd\n a hidden vhd\n  a1 vhd\n b vhd open=7:qemu\nsingle vhd\n");
    EXPECT_EQ(merge_candidates(world.tree, world.policy), (std::vector<std::string>{"a", "a1"}));
}

TEST(PlanRules, MissingFactsAreDoubt) {
    auto world = parse_world("base hidden vhd\n leaf vhd\n");
    world.facts.erase("base");
    const Plan plan = world.plan();
    EXPECT_TRUE(plan.steps.empty());
    EXPECT_EQ(reason_of(plan, "leaf"), "image-unknown");
}

TEST(Growth, CountsUnitsOnceAndTablesTouched) {
    const TargetShape qcow2 = test::shape_of(Format::qcow2);
    const GuestMap into{{{0_B, 64_KiB}}};
    const Growth target{qcow2, into, 4_GiB, 4_GiB, 0_B};
    EXPECT_EQ(growth(target, {{{0_B, 64_KiB}}}), 0_B);
    // One more cluster under a table that exists, two under one that does not.
    const Bytes cluster = 64_KiB + 2_B;
    EXPECT_EQ(growth(target, {{{1_MiB, 1_MiB + 1_B}}, {{1_GiB, 1_GiB + 65_KiB}}}), 4 * cluster + 128_KiB);
}

TEST(Growth, CompressedClustersAreReplaced) {
    const GuestMap into{{{0_B, 64_KiB}, false, true}};
    const Growth target{test::shape_of(Format::qcow2), into, 4_GiB, 4_GiB, 0_B};
    EXPECT_EQ(growth(target, {{{0_B, 64_KiB}}}), 64_KiB + 2_B + 128_KiB);
}

TEST(Growth, ZerosTakeRoomOnlyWhereSomethingLiesBeneath) {
    const TargetShape vhd = test::shape_of(Format::vhd);
    const GuestMap zeros{{{0_B, 4_MiB}, true}};
    EXPECT_EQ(growth({vhd, {}, 1_GiB, 1_GiB, 0_B}, zeros), 0_B);
    EXPECT_EQ(growth({vhd, {}, 1_GiB, 1_GiB, 2_MiB}, zeros), 2_MiB + 4_KiB);
}

TEST(PlanText, SizesAreReadable) {
    EXPECT_EQ(human_size(0_B), "0 B");
    EXPECT_EQ(human_size(1023_B), "1023 B");
    EXPECT_EQ(human_size(1536_B), "1.5 KiB");
    EXPECT_EQ(human_size(2040_GiB), "1.9 TiB");
    EXPECT_EQ(human_size(150_MiB), "150 MiB");
    EXPECT_EQ(human_size(Bytes{~0ULL}), "15.9 EiB");
}

// A planner that is worse than O(n log n) does not come to an end here before ctest loses patience.
TEST(PlanScale, TakesAHundredThousandNodes) {
    const auto planned = [](const SrTree& tree) {
        std::map<std::string, LayerFacts> facts;
        for (const TreeNode& node : tree.nodes)
            facts[node.uuid] = {{{{0_B, 1_MiB}}}, test::shape_of(Format::vhd), {}};
        return plan(tree, facts, 1_TiB, {});
    };
    const auto name = [](std::size_t number) { return "node" + std::to_string(1000000 + number); };
    SrTree chain;
    SrTree bushes;
    for (std::size_t number = 0; number < 100000; ++number) {
        TreeNode node;
        node.uuid = name(number);
        node.format = Format::vhd;
        node.virtual_size = 1_GiB;
        node.physical_size = 4_MiB;
        node.hidden = number != 99999;
        if (number > 0) node.parent = name(number - 1);
        chain.nodes.push_back(node);
        node.hidden = number % 4 != 3;
        if (number % 4 == 0) node.parent = std::nullopt;
        bushes.nodes.push_back(node);
    }
    EXPECT_EQ(planned(chain).steps.size(), 1U);
    EXPECT_EQ(planned(bushes).steps.size(), 25000U);
}

} // namespace
} // namespace coppice
