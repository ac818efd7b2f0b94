#include "coalesce/sr_tree.h"

#include <algorithm>
#include <utility>

namespace coppice {

std::string_view to_string(NodeState state) {
    switch (state) {
    case NodeState::ok:
        return "ok";
    case NodeState::damaged:
        return "damaged";
    case NodeState::unknown:
        return "unknown";
    }
    return "";
}

const TreeNode* SrTree::find(const std::string& uuid) const {
    const auto place = std::ranges::lower_bound(nodes, uuid, {}, &TreeNode::uuid);
    return place != nodes.end() && place->uuid == uuid ? &*place : nullptr;
}

TreeNode* SrTree::find(const std::string& uuid) {
    return const_cast<TreeNode*>(std::as_const(*this).find(uuid));
}

std::vector<std::string> SrTree::children(const std::string& uuid) const {
    std::vector<std::string> result;
    for (const TreeNode& node : nodes)
        if (node.parent == uuid) result.push_back(node.uuid);
    return result;
}

} // namespace coppice
