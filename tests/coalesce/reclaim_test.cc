// What deleting a VDI yields: the image, what nobody needs any more then, and the merges that it stood in the way of.
#include "coalesce/reclaim.h"
#include "tests/coalesce/plan_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coppice {
namespace {

using test::parse_world;

std::map<std::string, Bytes> reclaimable_in(const std::string& text) {
    const auto world = parse_world(text);
    return reclaimable(world.tree, world.facts);
}

TEST(Reclaim, ADiskWithoutAncestorsYieldsItself) {
    EXPECT_THAT(reclaimable_in("disk vhd size=1G data=0-512M physical=514M\n"),
                testing::ElementsAre(testing::Pair("disk", 514_MiB)));
}

TEST(Reclaim, WithTheLastReaderItsAncestorsGo) {
    // Merging all of it is possible anyway: that does not count as a yield of the deletion.
    const auto world = parse_world("base hidden vhd size=1G data=0-512M physical=512M\n"
                                   " leaf vhd size=1G data=0-64M physical=64M\n");
    Bytes anyway;
    for (const Step& step : world.plan().steps)
        anyway += step.space_freed;
    ASSERT_GT(anyway, 0_B);
    EXPECT_EQ(reclaimable(world.tree, world.facts).at("leaf"), 512_MiB + 64_MiB - anyway);
}

TEST(Reclaim, OfTwoReadersTheSecondKeepsTheBase) {
    const auto yields = reclaimable_in("base hidden vhd size=1G data=0-512M physical=512M\n"
                                       " disk vhd size=1G data=0-256M physical=256M\n"
                                       " snap vhd size=1G data=0-2M physical=2M\n");
    // Without the snapshot disk and base become one, which covers what both say of the first 256 MiB.
    EXPECT_GE(yields.at("snap"), 2_MiB + 250_MiB);
    EXPECT_LT(yields.at("snap"), 2_MiB + 256_MiB + 8_MiB);
    // Without the disk only what snap and base both say is said once.
    EXPECT_GE(yields.at("disk"), 256_MiB);
    EXPECT_LT(yields.at("disk"), 256_MiB + 8_MiB);
    EXPECT_FALSE(yields.contains("base"));
}

TEST(Reclaim, WhoeverHasADiskOpenDoesNotChangeWhatIsPossible) {
    const std::string world = "base hidden vhd size=1G data=0-512M physical=512M\n"
                              " disk vhd size=1G data=0-256M physical=256M OPEN\n"
                              " snap vhd size=1G data=0-2M physical=2M\n";
    std::string closed = world;
    closed.replace(closed.find(" OPEN"), 5, "");
    std::string open = world;
    open.replace(open.find("OPEN"), 4, "open=4711:qemu");
    EXPECT_EQ(reclaimable_in(open), reclaimable_in(closed));
}

TEST(Reclaim, DamageBesideADiskStaysAlone) {
    const auto yields = reclaimable_in("base hidden vhd size=1G data=0-512M physical=512M\n"
                                       " disk vhd size=1G data=0-256M physical=256M\n"
                                       " bad vhd size=1G state=damaged reason=image-damaged text=x physical=3M\n");
    EXPECT_EQ(yields.at("disk"), 256_MiB); // what is next to damage is not merged
}

} // namespace
} // namespace coppice
