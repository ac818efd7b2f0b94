// Random trees, planned and carried out cell by cell on a model that shares no code with the planner.
#include "coalesce/plan_text.h"
#include "coalesce/schedule.h"
#include "tests/coalesce/plan_world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace coppice {
namespace {

constexpr std::size_t cells = 24; ///< the largest disk, in cells
constexpr Bytes cell = 512_KiB;   ///< a quarter of a VHD block
constexpr int unmapped = -1;      ///< 0: zeros; else: data that differs from all other data

struct Layer {
    std::string uuid;
    std::optional<std::string> parent;
    std::vector<int> content; ///< as many cells as the image is large
    TreeNode node;            ///< everything else
    std::string check_reason; ///< not mergeable, if not empty
    bool held = false;

    bool operator==(const Layer& other) const {
        return uuid == other.uuid && parent == other.parent && content == other.content;
    }
};

using Model = std::map<std::string, Layer>;

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_{seed} {}
    std::size_t below(std::size_t limit) { return engine_() % limit; }
    bool one_in(std::size_t count) { return below(count) == 0; }

private:
    std::mt19937_64 engine_;
};

int guest_cell(const Model& model, const std::string& uuid, std::size_t at) {
    const Layer* layer = &model.at(uuid);
    for (std::size_t depth = 0; depth <= model.size(); ++depth) { // a loop reads as zeros here
        if (at >= layer->content.size()) return 0;
        if (layer->content[at] != unmapped) return layer->content[at];
        if (!layer->parent || !model.contains(*layer->parent)) return 0;
        layer = &model.at(*layer->parent);
    }
    return 0;
}

std::vector<int> guest(const Model& model, const std::string& uuid) {
    std::vector<int> result;
    for (std::size_t at = 0; at < model.at(uuid).content.size(); ++at)
        result.push_back(guest_cell(model, uuid, at));
    return result;
}

Model random_model(Random& random) {
    Model model;
    std::vector<std::string> names;
    int next_data = 1;
    const std::size_t count = 2 + random.below(18);
    for (std::size_t number = 0; number < count; ++number) {
        Layer layer;
        layer.uuid = "n" + std::to_string(100 + random.below(800)); // names do not follow the tree
        if (model.contains(layer.uuid)) continue;
        std::size_t size = cells - 4 + random.below(5);
        if (!names.empty() && !random.one_in(5)) {
            layer.parent = names[names.size() - 1 - std::min(names.size() - 1, random.below(3))];
            layer.node.format = model.at(*layer.parent).node.format;
            if (random.one_in(6)) layer.node.format = Format::qcow2;
            if (!random.one_in(4)) size = model.at(*layer.parent).content.size();
        } else {
            layer.node.format = random.one_in(5) ? Format::raw : random.one_in(2) ? Format::vhd : Format::qcow2;
        }
        if (layer.parent && layer.node.format == Format::raw) layer.node.format = Format::vhd;
        const bool sparse = random.one_in(2);
        for (std::size_t at = 0; at < size; ++at) {
            const std::size_t kind = random.below(sparse ? 12 : 3);
            const bool zero = kind == 1 && layer.node.format == Format::qcow2;
            layer.content.push_back(kind == 0 ? next_data++ : zero ? 0 : unmapped);
        }
        layer.node.hidden = !random.one_in(3);
        names.push_back(layer.uuid);
        model[layer.uuid] = layer;
    }
    return model;
}

void add_trouble(Model& model, Random& random) {
    for (auto& [uuid, layer] : model) {
        if (random.one_in(25)) layer.node.openers.push_back({42, "qemu"});
        if (random.one_in(40)) layer.node.state = NodeState::damaged;
        if (random.one_in(40)) layer.node.state = NodeState::unknown;
        if (random.one_in(40)) layer.check_reason = "unsupported-feature";
        if (random.one_in(40)) layer.held = true;
        if (random.one_in(60))
            layer.node.suspected_parents = {
                std::next(model.begin(), static_cast<std::ptrdiff_t>(random.below(model.size())))->first};
    }
    // A root may turn out to have lost its parent, or to be part of a loop.
    for (auto& [uuid, layer] : model) {
        if (layer.parent || layer.node.format == Format::raw || !random.one_in(20)) continue;
        layer.parent = random.one_in(2) ? "gone" : uuid;
    }
}

/// What the image takes, without metadata: a VHD has whole blocks.
Bytes occupied(const Layer& layer) {
    const std::size_t unit = layer.node.format == Format::vhd ? 4 : 1;
    std::set<std::size_t> units;
    for (std::size_t at = 0; at < layer.content.size(); ++at)
        if (layer.content[at] > 0) units.insert(at / unit);
    return units.size() * unit * cell;
}

test::PlanWorld world_of(const Model& model) {
    test::PlanWorld world;
    world.free_space = 1_TiB;
    for (const auto& [uuid, layer] : model) {
        TreeNode node = layer.node;
        node.uuid = uuid;
        node.parent = layer.parent;
        node.virtual_size = layer.content.size() * cell;
        node.physical_size = occupied(layer) + 64_KiB;
        LayerFacts facts;
        facts.shape = test::shape_of(node.format);
        if (!layer.check_reason.empty()) facts.check = {Verdict::unsupported, true, false, layer.check_reason, {}};
        for (std::size_t at = 0; at < layer.content.size(); ++at)
            if (layer.content[at] != unmapped)
                append(facts.map, {ByteRange::at(at * cell, cell), layer.content[at] == 0});
        if (layer.held) world.policy.holds[uuid] = "backup";
        world.facts[uuid] = facts;
        world.tree.nodes.push_back(node);
    }
    return world;
}

/// What a merge writes into its target; returns the data bytes written.
Bytes pour(Model& model, const Step& step) {
    Layer& into = model.at(*step.into);
    const bool down = step.direction == Direction::down;
    const Layer& top = model.at(step.emptied.front());
    if (down && top.content.size() > into.content.size()) {
        // The new part reads as zeros whatever lies beneath.
        into.content.resize(top.content.size(), 0);
    }
    Bytes written;
    const std::size_t visible = down ? top.content.size() : into.content.size();
    for (std::size_t at = 0; at < visible; ++at) {
        if (!down && into.content[at] != unmapped) continue;
        for (const std::string& source : step.emptied) {
            const Layer& layer = model.at(source);
            const int value = at < layer.content.size() ? layer.content[at] : 0;
            if (value == unmapped) continue;
            into.content[at] = value;
            if (value > 0) written += cell;
            break;
        }
    }
    return written;
}

std::vector<std::string> children(const Model& model, const std::string& uuid) {
    std::vector<std::string> result;
    for (const auto& [child, layer] : model)
        if (layer.parent == uuid) result.push_back(child);
    return result;
}

void check_chain(const Model& model, const Step& step) {
    std::vector<std::string> expected = step.emptied; // newest first, with the target at its end of the row
    expected.insert(step.direction == Direction::down ? expected.end() : expected.begin(), *step.into);
    for (std::size_t level = 0; level + 1 < expected.size(); ++level) {
        ASSERT_EQ(model.at(expected[level]).parent, expected[level + 1]);
        ASSERT_EQ(children(model, expected[level + 1]), std::vector<std::string>{expected[level]});
    }
    const auto& oldest = model.at(expected.back());
    ASSERT_EQ(oldest.parent, step.parent_after);
}

void execute(Model& model, const Step& step) {
    if (step.kind == StepKind::collect) {
        ASSERT_TRUE(model.at(step.vdi).node.hidden);
        ASSERT_TRUE(children(model, step.vdi).empty());
        model.erase(step.vdi);
        return;
    }
    ASSERT_NO_FATAL_FAILURE(check_chain(model, step));
    const Bytes before = occupied(model.at(*step.into));
    ASSERT_EQ(pour(model, step), step.copy_bytes);
    const Bytes after = occupied(model.at(*step.into));
    ASSERT_LE(after - std::min(after, before), step.space_needed);
    model.at(*step.into).parent = step.parent_after;
    if (step.direction == Direction::down && step.survivor == *step.into) {
        ASSERT_EQ(children(model, step.emptied.front()), step.relinked);
        for (const std::string& child : step.relinked)
            model.at(child).parent = *step.into;
    }
    const bool was_visible = !model.at(step.emptied.front()).node.hidden;
    for (const std::string& gone : step.emptied)
        model.erase(gone);
    if (step.survivor == *step.into) return;
    ASSERT_TRUE(was_visible);
    Layer renamed = model.at(*step.into);
    model.erase(*step.into);
    renamed.uuid = step.survivor;
    renamed.node.hidden = false;
    model[step.survivor] = renamed;
}

/// Everything that damage or doubt reaches, told independently of the planner.
std::set<std::string> untouchable(const Model& model, const std::vector<std::string>& candidates) {
    std::set<std::string> result;
    const auto add_ancestors = [&](std::string at) {
        for (std::set<std::string> seen; model.contains(at) && seen.insert(at).second; at = *model.at(at).parent) {
            result.insert(at);
            if (!model.at(at).parent) break;
        }
    };
    std::set<std::string> origins;
    for (const auto& [uuid, layer] : model) {
        const bool lost = layer.parent && (!model.contains(*layer.parent) || layer.parent == uuid);
        const bool refused = !layer.check_reason.empty() && std::ranges::binary_search(candidates, uuid);
        if (layer.node.state == NodeState::ok && !refused && !lost && !layer.held) continue;
        origins.insert(uuid);
        add_ancestors(uuid);
        for (const std::string& suspect : layer.node.suspected_parents)
            add_ancestors(suspect);
    }
    for (const auto& [uuid, layer] : model) {
        std::string at = uuid;
        for (std::set<std::string> seen; model.contains(at) && seen.insert(at).second; at = *model.at(at).parent) {
            if (origins.contains(at)) result.insert(uuid);
            if (!model.at(at).parent) break;
        }
    }
    for (const auto& [uuid, layer] : model)
        if (!layer.node.openers.empty()) result.insert(uuid);
    return result;
}

void expect_every_pair_is_explained(const Model& model, const Plan& plan) {
    std::set<std::string> named;
    for (const Skipped& skipped : plan.skipped)
        named.insert(skipped.vdi);
    for (const Step& step : plan.steps) {
        named.insert(step.emptied.begin(), step.emptied.end());
        if (step.into) named.insert(*step.into);
    }
    for (const auto& [uuid, layer] : model) {
        if (layer.node.hidden && children(model, uuid).empty()) {
            EXPECT_TRUE(named.contains(uuid)) << "garbage " << uuid;
        }
        if (layer.parent && model.contains(*layer.parent)) {
            EXPECT_TRUE(named.contains(uuid)) << "child " << uuid << "\n"
                                              << to_text(plan) << " of " << *layer.parent
                                              << (model.at(*layer.parent).node.hidden ? " hidden" : " visible");
        }
    }
}

void check_steps(const Model& before, Model& model, const Plan& plan, Bytes free_space,
                 const std::set<std::string>& untouched) {
    for (const Step& step : plan.steps) {
        for (const std::string& vdi : step.emptied)
            ASSERT_FALSE(untouched.contains(vdi)) << vdi;
        for (const std::string& vdi : step.relinked)
            ASSERT_FALSE(untouched.contains(vdi)) << vdi;
        ASSERT_FALSE(step.into && untouched.contains(*step.into));
        ASSERT_LE(step.space_needed, free_space);
        Bytes emptied;
        for (const std::string& vdi : step.emptied) {
            const TreeNode* node = nullptr;
            const auto found = before.find(vdi);
            ASSERT_NE(found, before.end());
            node = &found->second.node;
            ASSERT_TRUE(node->hidden || step.kind == StepKind::leaf_coalesce);
            emptied += occupied(found->second) + 64_KiB;
        }
        free_space = free_space + emptied - std::min(free_space + emptied, step.space_needed);
        ASSERT_NO_FATAL_FAILURE(execute(model, step)) << to_text(step);
        for (const auto& [uuid, layer] : before) {
            if (untouched.contains(uuid)) {
                ASSERT_EQ(model.at(uuid), layer) << uuid;
            }
            if (!layer.node.hidden) {
                ASSERT_EQ(guest(model, uuid), guest(before, uuid)) << uuid;
            }
        }
    }
}

enum class Trouble { none, some };

void switch_some_off(test::PlanWorld& world, Random& random) {
    for (const TreeNode& node : world.tree.nodes)
        if (random.one_in(20)) world.policy.refused[node.uuid] = "gc-disabled";
}

void delay_some(test::PlanWorld& world, Random& random) {
    for (const Step& step : world.plan().steps)
        if (random.one_in(3)) world.policy.retry_later[{step.vdi, step.into.value_or("")}] = "did not work";
}

/// What goes on in danger can be carried out without the rest of the plan, and the rest is told of.
void admit_at_a_bad_time(const Model& before, const test::PlanWorld& world, const Plan& plan, Random& random) {
    Schedule schedule;
    schedule.window = Window{0, 1};
    schedule.danger.chain_depth = 1 + random.below(8);
    const Bytes free = random.one_in(2) ? world.free_space : random.below(40) * 1_MiB;
    const Plan now = admit(plan, world.tree, free, schedule, {0, 720}).plan;
    Model model = before;
    const auto candidates = merge_candidates(world.tree, world.policy);
    ASSERT_NO_FATAL_FAILURE(check_steps(before, model, now, free, untouchable(before, candidates)))
        << to_text(plan) << "admitted:\n"
        << to_text(now);
    expect_every_pair_is_explained(before, now);
}

void run(std::uint64_t seed, Trouble trouble) {
    Random random{seed};
    const Model before = [&] {
        Model model = random_model(random);
        if (trouble == Trouble::some) add_trouble(model, random);
        return model;
    }();
    test::PlanWorld world = world_of(before);
    if (trouble == Trouble::some) {
        if (random.one_in(3)) world.free_space = random.below(24) * 1_MiB;
        if (random.one_in(20)) world.tree.complete = false;
        world.policy.leaf_coalesce = !random.one_in(6);
        if (random.one_in(6))
            world.policy.direction = DirectionPolicy::up;
        else if (random.one_in(6))
            world.policy.direction = DirectionPolicy::down;
    }
    Model model = before;
    if (trouble == Trouble::some && random.one_in(2)) switch_some_off(world, random);
    if (trouble == Trouble::some && random.one_in(4)) delay_some(world, random);
    const Plan plan = world.plan();
    ASSERT_EQ(plan, world.plan());
    for (const Step& step : plan.steps) {
        for (const std::string& vdi : step.emptied)
            ASSERT_FALSE(world.policy.refused.contains(vdi)) << to_text(step);
        ASSERT_FALSE(step.into && world.policy.refused.contains(*step.into)) << to_text(step);
    }
    for (const Step& step : plan.steps)
        ASSERT_FALSE(world.policy.retry_later.contains({step.vdi, step.into.value_or("")})) << to_text(step);
    ASSERT_NO_FATAL_FAILURE(admit_at_a_bad_time(before, world, plan, random));
    const auto candidates = merge_candidates(world.tree, world.policy);
    for (const Step& step : plan.steps) {
        if (step.kind == StepKind::collect) continue;
        for (const std::string& vdi : step.emptied)
            ASSERT_TRUE(std::ranges::binary_search(candidates, vdi)) << vdi << "\n" << to_text(plan);
    }
    ASSERT_NO_FATAL_FAILURE(check_steps(before, model, plan, world.free_space, untouchable(before, candidates)))
        << to_text(plan);
    expect_every_pair_is_explained(before, plan);
    if (world.free_space < 1_TiB) return; // what did not fit may fit afterwards
    test::PlanWorld after = world_of(model);
    after.policy = world.policy; // a delayed step may have another name by now
    if (!world.policy.retry_later.empty()) return;
    after.tree.complete = world.tree.complete;
    ASSERT_TRUE(after.plan().steps.empty()) << to_text(plan) << to_text(after.plan());
}

TEST(PlanProperty, SoundTreesComeToRestWithEveryGuestUnchanged) {
    for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
        ASSERT_NO_FATAL_FAILURE(run(seed, Trouble::none)) << "seed " << seed;
        if (HasFailure()) FAIL() << "seed " << seed;
    }
}

TEST(PlanProperty, TroubleIsLeftAloneAndTheRestGoesOn) {
    for (std::uint64_t seed = 100001; seed <= 104000; ++seed) {
        ASSERT_NO_FATAL_FAILURE(run(seed, Trouble::some)) << "seed " << seed;
        if (HasFailure()) FAIL() << "seed " << seed;
    }
}

} // namespace
} // namespace coppice
