#include "tests/coalesce/plan_world.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace coppice::test {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts;
    std::istringstream stream{text};
    for (std::string part; std::getline(stream, part, at);)
        parts.push_back(part);
    return parts;
}

Bytes size(const std::string& text) {
    std::size_t used = 0;
    const Bytes number{std::stoull(text, &used)};
    const std::string unit = text.substr(used);
    if (unit.empty()) return number;
    const std::size_t power = std::string{"KMGT"}.find(unit);
    if (power == std::string::npos) throw std::invalid_argument{"unknown unit: " + text};
    return number * (1ULL << (10 * (power + 1)));
}

void add_runs(GuestMap& map, const std::string& text, bool zero) {
    for (const std::string& range : split(text, ',')) {
        const auto ends = split(range, '-');
        map.push_back({{size(ends.at(0)), size(ends.at(1))}, zero});
    }
    std::ranges::sort(map, {}, [](const GuestRun& run) { return run.guest.begin; });
}

Opener opener(const std::string& text) {
    const auto parts = split(text, ':');
    return {std::stoi(parts.at(0)), parts.size() > 1 ? parts[1] : ""};
}

void set_node_word(TreeNode& node, LayerFacts& facts, const std::string& word) {
    const std::size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (key == "hidden")
        node.hidden = true;
    else if (key == "vhd")
        node.format = Format::vhd;
    else if (key == "qcow2")
        node.format = Format::qcow2;
    else if (key == "raw")
        node.format = Format::raw;
    else if (key == "size")
        node.virtual_size = size(value);
    else if (key == "physical")
        node.physical_size = size(value);
    else if (key == "data")
        add_runs(facts.map, value, false);
    else if (key == "zero")
        add_runs(facts.map, value, true);
    else if (key == "open")
        node.openers.push_back(opener(value));
    else if (key == "state")
        node.state = value == "damaged" ? NodeState::damaged : NodeState::unknown;
    else if (key == "reason")
        node.reason = value;
    else if (key == "text")
        node.text = value;
    else if (key == "parent")
        node.parent = value;
    else if (key == "suspects")
        node.suspected_parents = split(value, ',');
    else if (key == "unmergeable")
        facts.check = {Verdict::unsupported, true, false, value, {}};
    else
        throw std::invalid_argument{"unknown word: " + word};
}

void set_policy_word(Policy& policy, const std::string& word) {
    const auto parts = split(word, '=');
    const std::string& key = parts.at(0);
    const std::string& value = parts.at(1);
    const auto names = split(value, ',');
    if (key == "gc")
        policy.gc = value == "true";
    else if (key == "out")
        policy.refused[names.at(0)] = names.at(1);
    else if (key == "hold")
        policy.holds[names.at(0)] = names.at(1);
    else if (key == "retry")
        policy.retry_later[{names.at(0), names.at(1)}] = names.at(2);
    else if (key == "collect")
        policy.collect = value == "true";
    else if (key == "coalesce")
        policy.coalesce = value == "true";
    else if (key == "leaf-coalesce")
        policy.leaf_coalesce = value == "true";
    else if (key == "direction")
        policy.direction = value == "up" ? DirectionPolicy::up : DirectionPolicy::down;
    else if (key == "only")
        policy.only = {names.begin(), names.end()};
    else if (key == "sm")
        policy.sm_operations = {names.begin(), names.end()};
    else if (key == "refuse")
        policy.leaf_refused[names.at(0)] = names.at(1);
    else
        throw std::invalid_argument{"unknown word: " + word};
}

} // namespace

TargetShape shape_of(Format format) {
    TargetShape shape;
    if (format == Format::vhd) {
        shape.unit = 2_MiB;
        shape.unit_overhead = 4_KiB;
        shape.index_covers = 2_MiB;
        shape.largest_virtual_size = 2040_GiB;
    } else if (format == Format::qcow2) {
        shape.unit = 64_KiB;
        shape.fill_unit = 64_KiB;
        shape.unit_overhead = 2_B;
        shape.table_covers = 512_MiB;
        shape.table_size = 64_KiB;
        shape.index_covers = 512_MiB;
        shape.fixed_overhead = 128_KiB;
        shape.marks_zeros = true;
        shape.largest_virtual_size = 2048_TiB;
    }
    return shape;
}

PlanWorld parse_world(const std::string& text) {
    PlanWorld world;
    world.free_space = 1_TiB;
    std::vector<std::pair<std::size_t, std::string>> above; // indentation and name of the nodes on the way to the root
    for (const std::string& line : split(text, '\n')) {
        const std::size_t indent = line.find_first_not_of(' ');
        if (indent == std::string::npos || line[indent] == '#') continue;
        std::istringstream words{line};
        std::string name;
        words >> name;
        std::vector<std::string> rest;
        for (std::string word; words >> word;)
            rest.push_back(word);
        if (name == "incomplete") {
            world.tree.complete = false;
        } else if (name == "free") {
            world.free_space = size(rest.at(0));
        } else if (name == "policy") {
            for (const std::string& word : rest)
                set_policy_word(world.policy, word);
        } else {
            while (!above.empty() && above.back().first >= indent)
                above.pop_back();
            TreeNode node;
            LayerFacts facts;
            node.uuid = name;
            node.virtual_size = 1_GiB;
            if (!above.empty()) node.parent = above.back().second;
            for (const std::string& word : rest)
                set_node_word(node, facts, word);
            facts.shape = shape_of(node.format);
            node.file = name + std::string{extension(node.format)};
            node.allocated_size = data_bytes(facts.map);
            if (node.physical_size == 0_B) node.physical_size = node.allocated_size + 64_KiB;
            above.emplace_back(indent, name);
            world.facts[name] = std::move(facts);
            world.tree.nodes.push_back(std::move(node));
        }
    }
    std::ranges::sort(world.tree.nodes, {}, &TreeNode::uuid);
    return world;
}

} // namespace coppice::test
