#include "coalesce/plan_index.h"
#include "coalesce/sr_tree.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

SrTree tree(std::vector<std::pair<std::string, std::string>> edges) {
    SrTree result;
    for (auto& [uuid, parent] : edges) {
        TreeNode node;
        node.uuid = uuid;
        if (!parent.empty()) node.parent = parent;
        result.nodes.push_back(node);
    }
    return result;
}

TEST(SrTree, FindsWhatIsThere) {
    SrTree three = tree({{"a", ""}, {"b", "a"}, {"c", "a"}});
    ASSERT_NE(three.find("b"), nullptr);
    EXPECT_EQ(three.find("b")->uuid, "b");
    EXPECT_EQ(three.find("bb"), nullptr);
    EXPECT_EQ(three.find(""), nullptr);
    EXPECT_EQ(three.children("a"), (std::vector<std::string>{"b", "c"}));
}

TEST(PlanIndex, KnowsBothEndsOfEveryEdge) {
    const SrTree four = tree({{"a", ""}, {"b", "a"}, {"c", "a"}, {"d", "gone"}});
    const PlanIndex index{four};
    ASSERT_EQ(index.children(0).size(), 2U);
    EXPECT_EQ(index.children(0)[1], 2U);
    EXPECT_EQ(index.parent(2), 0U);
    EXPECT_EQ(index.parent(3), PlanIndex::none);
    EXPECT_EQ(index.find("c"), 2U);
    EXPECT_EQ(index.find("x"), PlanIndex::none);
}

TEST(PlanIndex, OnlyTheCycleItselfIsOnTheCycle) {
    const SrTree loop = tree({{"a", "b"}, {"b", "c"}, {"c", "a"}, {"d", "a"}, {"e", "e"}, {"f", ""}});
    const PlanIndex index{loop};
    const std::vector<bool> expected{true, true, true, false, true, false};
    for (std::size_t place = 0; place < expected.size(); ++place)
        EXPECT_EQ(index.on_cycle(place), expected[place]) << place;
}

} // namespace
} // namespace coppice
