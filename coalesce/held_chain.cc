#include "coalesce/held_chain.h"

#include <algorithm>
#include <set>

namespace coppice {
namespace {

/// `uuid` and what it reads through; ends also where parents form a circle.
std::set<std::string> way_down(const SrTree& tree, const std::string& uuid) {
    std::set<std::string> way;
    for (std::optional<std::string> at = uuid; at && way.insert(*at).second;) {
        const TreeNode* node = tree.find(*at);
        at = node == nullptr ? std::nullopt : node->parent;
    }
    return way;
}

} // namespace

std::optional<std::string> hold_on(const SrTree& tree, const Policy& policy, const std::vector<std::string>& uuids) {
    for (const auto& [vdi, text] : policy.holds) {
        const std::set<std::string> beneath = way_down(tree, vdi);
        const bool reaches = std::ranges::any_of(uuids, [&, held = &vdi](const std::string& uuid) {
            return beneath.contains(uuid) || way_down(tree, uuid).contains(*held);
        });
        if (reaches) return text.empty() ? "somebody holds it" : text;
    }
    return std::nullopt;
}

} // namespace coppice
