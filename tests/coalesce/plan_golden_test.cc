// Each file of tests/data/plans holds a tree and the plan for it. With COPPICE_UPDATE_GOLDEN=1 the plans are rewritten.
#include "coalesce/plan_text.h"
#include "tests/coalesce/plan_world.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace coppice {
namespace {

constexpr std::string_view separator = "\n=== plan ===\n";

std::filesystem::path plans() {
    return std::filesystem::path{COPPICE_SOURCE_DIRECTORY} / "tests/data/plans";
}

class PlanGolden : public testing::TestWithParam<const char*> {};

TEST_P(PlanGolden, IsAsWrittenDown) {
    const auto path = plans() / (std::string{GetParam()} + ".txt");
    std::ifstream file{path};
    const std::string content{std::istreambuf_iterator<char>{file}, {}};
    ASSERT_FALSE(content.empty()) << path;
    const std::size_t cut = content.find(separator);
    const std::string tree = content.substr(0, cut);
    const std::string expected = cut == std::string::npos ? "" : content.substr(cut + separator.size());
    const std::string actual = to_text(test::parse_world(tree).plan());
    if (std::getenv("COPPICE_UPDATE_GOLDEN") != nullptr)
        std::ofstream{path} << tree << separator << actual;
    else
        EXPECT_EQ(actual, expected);
}

INSTANTIATE_TEST_SUITE_P(Trees, PlanGolden,
                         testing::Values("long_chain", "pull_up", "mixed_chain", "fan_of_clones", "busy_leaf",
                                         "full_sr", "broken_parent", "unknown_image", "garbage", "visible_parents",
                                         "grown_disk", "room_made_by_another", "named_only", "leaf_coalesce_off"),
                         [](const auto& instance) {
                             std::string name = instance.param; // test names have no underscores
                             std::erase(name, '_');
                             return name;
                         });

TEST(PlanGoldenFiles, AreAllUsed) {
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator{plans()})
        files += entry.path().extension() == ".txt";
    EXPECT_EQ(files, 14U);
}

} // namespace
} // namespace coppice
