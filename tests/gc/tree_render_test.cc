#include "gc/verbs/tree_render.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

TreeNode node(std::string uuid, std::optional<std::string> parent = {}, bool hidden = false) {
    TreeNode result;
    result.file = uuid + ".vhd";
    result.uuid = std::move(uuid);
    result.format = Format::vhd;
    result.parent = std::move(parent);
    result.hidden = hidden;
    result.virtual_size = 10_GiB;
    result.physical_size = 3_MiB;
    result.allocated_size = 2_MiB;
    return result;
}

TEST(TreeRender, DrawsBranches) {
    SrTree tree;
    tree.nodes = {node("a", {}, true), node("b", "a", true), node("c", "b"), node("d", "a"), node("e")};
    EXPECT_EQ(tree_text(tree, "sr", false), "SR sr: 5 VDIs in 2 trees\n"
                                            "VDI      FORMAT    VIRTUAL   PHYSICAL  ALLOCATED  FLAGS\n"
                                            "a        vhd        10 GiB      3 MiB      2 MiB  hidden\n"
                                            "├─ b     vhd        10 GiB      3 MiB      2 MiB  hidden\n"
                                            "│  └─ c  vhd        10 GiB      3 MiB      2 MiB\n"
                                            "└─ d     vhd        10 GiB      3 MiB      2 MiB\n"
                                            "e        vhd        10 GiB      3 MiB      2 MiB\n");
}

TEST(TreeRender, SaysWhatIsWrong) {
    SrTree tree;
    tree.nodes = {node("a", {}, true), node("b"), node("c")};
    tree.nodes[1].state = NodeState::damaged;
    tree.nodes[1].reason = "image-damaged";
    tree.nodes[2].openers = {{42, "qemu-nbd"}, {0, ""}};
    std::string text = tree_text(tree, "sr", false);
    EXPECT_NE(text.find("hidden, garbage\n"), std::string::npos);
    EXPECT_NE(text.find("damaged (image-damaged)\n"), std::string::npos);
    EXPECT_NE(text.find("open by qemu-nbd[42], open by a program\n"), std::string::npos);
    tree.complete = false;
    text = tree_text(tree, "sr", false);
    EXPECT_NE(text.find("Not everything could be looked at"), std::string::npos);
    EXPECT_EQ(text.find("garbage"), std::string::npos);
}

TEST(TreeRender, CallsNothingGarbageThatADamagedImageMayNeed) {
    SrTree tree;
    tree.nodes = {node("a", {}, true), node("b")};
    tree.nodes[1].state = NodeState::damaged;
    tree.nodes[1].suspected_parents = {"a"};
    EXPECT_EQ(tree_text(tree, "sr", false).find("garbage"), std::string::npos);
}

TEST(TreeRender, ShowsEveryNodeOfACircleOnce) {
    SrTree tree;
    tree.nodes = {node("a", "b"), node("b", "a"), node("c", "c"), node("d", "b")};
    EXPECT_EQ(tree_rows(tree).size(), 4U);
    EXPECT_FALSE(tree_dot(tree, "sr").empty());
    EXPECT_FALSE(tree_svg(tree, "sr").empty());
}

TEST(TreeRender, ShowsAnyDepth) {
    SrTree tree;
    std::optional<std::string> parent;
    for (int i = 0; i < 3000; ++i) {
        std::string uuid = std::to_string(10000 + i);
        tree.nodes.push_back(node(uuid, parent));
        parent = uuid;
    }
    const auto rows = tree_rows(tree);
    ASSERT_EQ(rows.size(), 3000U);
    EXPECT_EQ(rows.back().depth, 2999U);
    EXPECT_LT(tree_text(tree, "sr", false).size(), 3000U * 1000);
    EXPECT_LT(tree_svg(tree, "sr").size(), 3000U * 2000);
}

TEST(TreeRender, EscapesNames) {
    SrTree tree;
    tree.nodes = {node("<a&\"\\>\x1b")};
    EXPECT_NE(tree_svg(tree, "<sr>").find("&lt;a&amp;&quot;\\&gt;?"), std::string::npos);
    EXPECT_EQ(tree_svg(tree, "<sr>").find("<sr>"), std::string::npos);
    EXPECT_NE(tree_dot(tree, "sr").find("\"<a&\\\"\\\\>?\""), std::string::npos);
    EXPECT_EQ(tree_text(tree, "sr", false).find('\x1b'), std::string::npos);
}

} // namespace
} // namespace coppice
