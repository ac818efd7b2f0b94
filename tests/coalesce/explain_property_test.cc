// Random trees with random users, damage, holds, delays, switches and pauses: every VDI gets one explanation, which
// agrees with the plan, and every reason code is in the manual.
#include "coalesce/explain_text.h"
#include "coalesce/plan_text.h"
#include "tests/coalesce/plan_world.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>

namespace coppice {
namespace {

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_{seed} {}
    std::size_t below(std::size_t limit) { return engine_() % limit; }
    bool one_in(std::size_t count) { return below(count) == 0; }

private:
    std::mt19937_64 engine_;
};

struct Scene {
    test::PlanWorld world;
    Situation situation;
    Plan whole;
    Plan admitted;
};

TreeNode random_node(Random& random, std::vector<std::string>& names) {
    TreeNode node;
    node.uuid = "n" + std::to_string(1000 + random.below(9000));
    if (!names.empty() && !random.one_in(5)) node.parent = names[names.size() - 1 - random.below(names.size()) / 2];
    node.format = random.one_in(6) ? Format::qcow2 : Format::vhd;
    if (!node.parent && random.one_in(8)) node.format = Format::raw;
    node.hidden = !random.one_in(3);
    node.virtual_size = (random.one_in(6) ? 2 : 1) * 1_GiB;
    node.physical_size = (1 + random.below(64)) * 1_MiB;
    if (random.one_in(15)) node.openers.push_back({static_cast<int>(random.below(3)), random.one_in(2) ? "" : "qemu"});
    if (random.one_in(30)) node.state = random.one_in(2) ? NodeState::damaged : NodeState::unknown;
    if (random.one_in(60)) node.parent = random.one_in(2) ? "gone" : node.uuid;
    if (random.one_in(40) && !names.empty()) node.suspected_parents = {names[random.below(names.size())]};
    names.push_back(node.uuid);
    return node;
}

LayerFacts random_facts(Random& random, Format format) {
    LayerFacts facts;
    facts.shape = test::shape_of(format);
    facts.map = {{ByteRange::at(random.below(256) * 1_MiB, (1 + random.below(64)) * 1_MiB)}};
    if (random.one_in(40)) facts.check = {Verdict::unsupported, true, false, "unsupported-feature", {}};
    return facts;
}

void add_policy(Policy& policy, Situation& situation, const std::string& vdi, Random& random) {
    if (random.one_in(30)) {
        policy.holds[vdi] = random.one_in(2) ? "backup" : "A backup is made.";
        if (random.one_in(2)) situation.holds[vdi] = {{"hold", "17", 0, "backup"}};
    }
    if (random.one_in(40)) {
        policy.sm_operations.insert(vdi);
        if (random.one_in(2)) policy.sm_texts[vdi] = situation.frozen[vdi] = "an entry of sm";
    }
    if (random.one_in(40)) policy.refused[vdi] = random.one_in(2) ? "gc-disabled" : "coalesce-disabled";
    if (random.one_in(20)) policy.leaf_refused[vdi] = random.one_in(2) ? "reset-on-boot" : "caching";
}

Schedule random_schedule(Random& random) {
    Schedule schedule;
    schedule.danger.chain_depth = 3 + random.below(8);
    if (random.one_in(3)) schedule.window = Window{0, 1 + static_cast<unsigned>(random.below(1439))};
    if (random.one_in(4)) schedule.pause = Pause{1001, random.one_in(2), "root", "backup"};
    return schedule;
}

Scene random_scene(std::uint64_t seed) {
    Random random{seed};
    Scene scene;
    std::map<std::string, TreeNode> nodes;
    std::vector<std::string> names;
    for (std::size_t left = 1 + random.below(25); left > 0; --left) {
        TreeNode node = random_node(random, names);
        nodes.emplace(node.uuid, node);
    }
    Policy& policy = scene.world.policy;
    for (auto& [uuid, node] : nodes) {
        scene.world.facts[uuid] = random_facts(random, node.format);
        add_policy(policy, scene.situation, uuid, random);
        scene.world.tree.nodes.push_back(node);
    }
    scene.world.tree.complete = !random.one_in(25);
    scene.world.free_space = random.one_in(3) ? random.below(64) * 1_MiB : 1_TiB;
    policy.gc = !random.one_in(30);
    policy.collect = !random.one_in(30);
    policy.coalesce = !random.one_in(30);
    policy.leaf_coalesce = !random.one_in(8);
    if (random.one_in(8)) policy.direction = random.one_in(2) ? DirectionPolicy::up : DirectionPolicy::down;
    for (const Step& step : scene.world.plan().steps)
        if (random.one_in(10)) policy.retry_later[{step.vdi, step.into.value_or("")}] = "did not work";
    scene.whole = scene.world.plan();
    const Schedule schedule = random_schedule(random);
    scene.situation.pause = schedule.pause;
    scene.admitted = admit(scene.whole, scene.world.tree, scene.world.free_space, schedule, {1000, 720}).plan;
    return scene;
}

std::set<std::string> named_in(const Step& step) {
    std::set<std::string> names{step.emptied.begin(), step.emptied.end()};
    names.insert(step.relinked.begin(), step.relinked.end());
    if (step.into) names.insert(*step.into);
    return names;
}

const std::string& reason_codes_of_manual() {
    static const std::string section = [] {
        std::ifstream file{std::string{COPPICE_SOURCE_DIRECTORY} + "/docs/man/coppice.8.md"};
        const std::string manual{std::istreambuf_iterator<char>{file}, {}};
        const std::size_t begin = manual.find("## REASON CODES");
        return manual.substr(begin, manual.find("\n## ", begin) - begin);
    }();
    return section;
}

bool is_sentence(const std::string& text) {
    return text.size() > 10 && (text.ends_with('.')) && text.find("..") == std::string::npos && text.front() != ' ';
}

void check_words(const Explanation& told) {
    EXPECT_FALSE(told.reason.empty());
    EXPECT_TRUE(is_sentence(told.text)) << told.text;
    EXPECT_TRUE(is_sentence(told.next)) << told.next;
    EXPECT_NE(reason_codes_of_manual().find("`" + told.reason + "`"), std::string::npos) << told.reason;
    EXPECT_NE(told.reason, "not-planned") << "the plan was made for all";
    if (told.verdict == Outlook::waiting || told.verdict == Outlook::refused) {
        EXPECT_TRUE(is_sentence(told.unblocks)) << told.unblocks;
    }
    if (told.reason == "attached" || told.reason == "held" || told.reason == "paused") {
        EXPECT_TRUE(told.verdict == Outlook::running || !told.holders.empty());
    }
}

void check(const Scene& scene) {
    const auto explained = explain(scene.world.tree, scene.admitted, scene.situation);
    ASSERT_EQ(explained, explain(scene.world.tree, scene.admitted, scene.situation));
    ASSERT_EQ(explained.size(), scene.world.tree.nodes.size());
    std::set<std::string> planned;
    for (const Step& step : scene.admitted.steps)
        planned.merge(named_in(step));
    const std::set<std::string> running =
        scene.situation.running == nullptr ? std::set<std::string>{} : named_in(*scene.situation.running);
    std::map<std::string, Skipped> skipped;
    for (const Skipped& entry : scene.admitted.skipped)
        skipped[entry.vdi] = entry;
    for (std::size_t at = 0; at < explained.size(); ++at) {
        const Explanation& told = explained[at];
        SCOPED_TRACE(to_text(told));
        ASSERT_EQ(told.vdi, scene.world.tree.nodes[at].uuid);
        check_words(told);
        EXPECT_EQ(told.verdict == Outlook::running, running.contains(told.vdi));
        EXPECT_EQ(told.verdict == Outlook::planned, planned.contains(told.vdi) && !running.contains(told.vdi));
        if (const auto entry = skipped.find(told.vdi); entry != skipped.end() && !running.contains(told.vdi)) {
            EXPECT_EQ(told.reason, entry->second.reason);
            EXPECT_NE(told.text.find(entry->second.cause), std::string::npos) << "names the cause";
        }
    }
}

TEST(ExplainProperty, EveryVdiHasOneExplanationThatAgreesWithThePlan) {
    for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
        Scene scene = random_scene(seed);
        ASSERT_NO_FATAL_FAILURE(check(scene)) << "seed " << seed;
        if (!scene.whole.steps.empty()) {
            scene.situation.running = &scene.whole.steps[seed % scene.whole.steps.size()];
            ASSERT_NO_FATAL_FAILURE(check(scene)) << "running, seed " << seed;
        }
        if (HasFailure()) FAIL() << "seed " << seed << "\n" << to_text(scene.admitted);
    }
}

// The random scenes would prove little if they did not reach what they are about.
TEST(ExplainProperty, ScenesReachTheReasons) {
    std::set<std::string> seen;
    for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
        const Scene scene = random_scene(seed);
        for (const Explanation& told : explain(scene.world.tree, scene.admitted, scene.situation))
            seen.insert(told.reason);
    }
    for (const std::string reason : {"attached",
                                     "held",
                                     "paused",
                                     "outside-window",
                                     "retry-later",
                                     "sm-operation",
                                     "no-space",
                                     "image-damaged",
                                     "image-unknown",
                                     "unsupported-feature",
                                     "scan-incomplete",
                                     "parent-missing",
                                     "chain-cycle",
                                     "gc-disabled",
                                     "coalesce-disabled",
                                     "leaf-coalesce-disabled",
                                     "reset-on-boot",
                                     "caching",
                                     "virtual-size",
                                     "mixed-formats",
                                     "siblings",
                                     "parent-visible",
                                     "visible",
                                     "shared",
                                     "collect",
                                     "coalesce",
                                     "leaf-coalesce"})
        EXPECT_TRUE(seen.contains(reason)) << reason;
}

} // namespace
} // namespace coppice
