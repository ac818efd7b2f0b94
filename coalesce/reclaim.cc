#include "coalesce/reclaim.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace coppice {
namespace {

using Family = std::vector<const TreeNode*>;

/// Trees have nothing to do with each other: each is looked at for itself.
std::vector<Family> families(const SrTree& tree) {
    std::map<std::string, std::string> roots;
    const std::function<std::string(const TreeNode&, std::size_t)> root_of = [&](const TreeNode& node,
                                                                                 std::size_t depth) -> std::string {
        if (const auto known = roots.find(node.uuid); known != roots.end()) return known->second;
        const TreeNode* parent = node.parent ? tree.find(*node.parent) : nullptr;
        if (parent == nullptr || depth > tree.nodes.size()) return roots[node.uuid] = node.uuid;
        return roots[node.uuid] = root_of(*parent, depth + 1);
    };
    std::map<std::string, Family> by_root;
    for (const TreeNode& node : tree.nodes)
        by_root[root_of(node, 0)].push_back(&node);
    std::vector<Family> result;
    for (auto& [root, family] : by_root)
        result.push_back(std::move(family));
    return result;
}

Bytes freed_by_plan(const SrTree& tree, const std::map<std::string, LayerFacts>& facts) {
    constexpr Bytes plenty{std::numeric_limits<std::int64_t>::max()};
    Policy policy;
    policy.leaf_coalesce = true;
    Bytes freed;
    for (const Step& step : plan(tree, facts, plenty, policy).steps)
        freed += step.space_freed;
    return freed;
}

SrTree without(const Family& family, const std::string& vdi) {
    SrTree tree;
    for (const TreeNode* node : family)
        if (node->uuid != vdi) {
            tree.nodes.push_back(*node);
            tree.nodes.back().openers.clear();
        }
    return tree;
}

} // namespace

std::map<std::string, Bytes> reclaimable(const SrTree& tree, const std::map<std::string, LayerFacts>& facts) {
    std::map<std::string, Bytes> result;
    for (const Family& family : families(tree)) {
        const SrTree whole = without(family, {});
        const Bytes anyway = freed_by_plan(whole, facts);
        for (const TreeNode* node : family) {
            if (node->hidden || !whole.children(node->uuid).empty()) continue;
            const Bytes then = freed_by_plan(without(family, node->uuid), facts) + node->physical_size;
            result[node->uuid] = then > anyway ? then - anyway : 0_B;
        }
    }
    return result;
}

} // namespace coppice
