// Each file of tests/data/explanations holds a tree, a situation, and for some VDIs the verdict, the reason code and
// the text they have to get. With COPPICE_UPDATE_GOLDEN=1 the texts are rewritten; verdicts and codes are not.
//
//   !ask VDI VERDICT CODE              !window HH:MM-HH:MM      (it is 12:00)
//   !hold VDI ID TEXT                  !danger DEPTH
//   !frozen VDI TEXT                   !pause OWNER REASON
//   !retry VDI INTO|- TEXT             !running VDI             (the step that empties it)
//   !cycle                             (a service looks again at 12:10)
#include "coalesce/explain_text.h"
#include "tests/coalesce/plan_world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace coppice {
namespace {

constexpr std::string_view separator = "\n=== explanations ===\n";
constexpr UnixSeconds noon = 1764072000;

std::filesystem::path folder() {
    return std::filesystem::path{COPPICE_SOURCE_DIRECTORY} / "tests/data/explanations";
}

struct Asked {
    std::string vdi;
    std::string verdict;
    std::string reason;
};

struct Scene {
    test::PlanWorld world;
    Schedule schedule;
    Situation situation;
    std::string running; ///< what the step under way empties
    std::vector<Asked> asked;

    std::vector<Explanation> explained() const {
        const Plan plan = world.plan();
        Situation now = situation;
        const auto step = std::ranges::find_if(plan.steps, [&](const Step& s) { return s.vdi == running; });
        if (!running.empty()) now.running = &*step;
        return explain(world.tree, admit(plan, world.tree, world.free_space, schedule, {noon, 12 * 60}).plan, now);
    }
};

std::string rest_of(std::istringstream& words) {
    std::string rest;
    std::getline(words >> std::ws, rest);
    return rest;
}

void obey(const std::string& line, Scene& scene) {
    std::istringstream words{line};
    std::string verb;
    std::string vdi;
    std::string word;
    words >> verb;
    if (verb == "!cycle") {
        scene.situation.next_cycle = noon + 600;
        return;
    }
    words >> vdi;
    if (verb == "!ask") {
        scene.asked.push_back({vdi});
        words >> scene.asked.back().verdict >> scene.asked.back().reason;
    } else if (verb == "!hold") {
        words >> word;
        const std::string text = rest_of(words);
        scene.world.policy.holds[vdi] = text;
        scene.situation.holds[vdi].push_back({"hold", word, 0, text});
    } else if (verb == "!frozen") {
        const std::string text = rest_of(words);
        scene.situation.frozen[vdi] = text;
        scene.world.policy.sm_operations.insert(vdi);
        scene.world.policy.sm_texts[vdi] = text;
    } else if (verb == "!retry") {
        words >> word;
        scene.world.policy.retry_later[{vdi, word == "-" ? "" : word}] = rest_of(words);
    } else if (verb == "!window") {
        scene.schedule.window = Window::parse(vdi);
    } else if (verb == "!danger") {
        scene.schedule.danger.chain_depth = std::stoul(vdi);
    } else if (verb == "!pause") {
        scene.schedule.pause = scene.situation.pause = Pause{noon + 3600, false, vdi, rest_of(words)};
    } else if (verb == "!running") {
        scene.running = vdi;
    } else {
        throw std::invalid_argument{line};
    }
}

Scene parse_scene(const std::string& text) {
    Scene scene;
    std::istringstream lines{text};
    std::string world;
    std::vector<std::string> orders;
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with('!'))
            orders.push_back(line);
        else
            world += line + "\n";
    scene.world = test::parse_world(world);
    for (const std::string& order : orders)
        obey(order, scene);
    return scene;
}

class ExplainGolden : public testing::TestWithParam<const char*> {};

TEST_P(ExplainGolden, IsAsWrittenDown) {
    const auto path = folder() / (std::string{GetParam()} + ".txt");
    std::ifstream file{path};
    const std::string content{std::istreambuf_iterator<char>{file}, {}};
    const std::size_t cut = content.find(separator);
    const std::string expected = cut == std::string::npos ? "" : content.substr(cut + separator.size());
    const Scene scene = parse_scene(content.substr(0, cut));
    ASSERT_FALSE(scene.asked.empty()) << path;
    const auto explained = scene.explained();
    std::string actual;
    for (const Asked& asked : scene.asked) {
        const auto found = std::ranges::find(explained, asked.vdi, &Explanation::vdi);
        ASSERT_NE(found, explained.end()) << asked.vdi;
        EXPECT_EQ(to_string(found->verdict), asked.verdict) << asked.vdi;
        EXPECT_EQ(found->reason, asked.reason) << asked.vdi;
        actual += to_text(*found);
    }
    if (std::getenv("COPPICE_UPDATE_GOLDEN") != nullptr)
        std::ofstream{path} << content.substr(0, cut) << separator << actual;
    else
        EXPECT_EQ(actual, expected);
}

constexpr const char* scenes[] = {"circle",
                                  "damaged_child",
                                  "damaged_parent",
                                  "encrypted",
                                  "frozen_header",
                                  "garbage",
                                  "garbage_in_use",
                                  "gc_disabled",
                                  "held",
                                  "leaf_coalesce_disabled",
                                  "missing_parent",
                                  "mixed_formats",
                                  "named_only",
                                  "no_space",
                                  "open_descendants",
                                  "open_leaf",
                                  "outside_window",
                                  "outside_window_in_danger",
                                  "paused",
                                  "raw_parent",
                                  "retry_later",
                                  "running",
                                  "scan_incomplete",
                                  "several_levels",
                                  "siblings",
                                  "sm_operation",
                                  "switches",
                                  "two_steps",
                                  "unreadable",
                                  "virtual_size",
                                  "visible_root"};

INSTANTIATE_TEST_SUITE_P(Situations, ExplainGolden, testing::ValuesIn(scenes), [](const auto& instance) {
    std::string name = instance.param; // test names have no underscores
    std::erase(name, '_');
    return name;
});

TEST(ExplainGoldenFiles, AreAllUsed) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator{folder()})
        files.push_back(entry.path().stem());
    std::ranges::sort(files);
    EXPECT_EQ(files, std::vector<std::string>(std::begin(scenes), std::end(scenes)));
}

TEST(ExplainText, ShowsSinceAndNoControlCharacters) {
    Explanation explanation{"disk", Outlook::waiting, "attached", "It is open.", {{"process", "a\x1b[2J\n", 7, ""}}};
    explanation.since = noon;
    EXPECT_EQ(to_text(explanation), "disk: waiting (attached)\n"
                                    "  It is open.\n"
                                    "  held by:  process a?[2J? (pid 7)\n"
                                    "  since:    2025-11-25T12:00:00Z\n");
}

TEST(ExplainReasons, CodesNobodyKnowsWait) {
    EXPECT_EQ(outlook_of_reason("from-the-future"), Outlook::waiting);
}

} // namespace
} // namespace coppice
