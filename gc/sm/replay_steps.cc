#include "gc/sm/replay_steps.h"

#include "coalesce/relink.h"
#include "format/base/error.h"

#include <algorithm>

namespace coppice {

std::string file_of(const std::string& uuid, const TreeNode& node) {
    return uuid + std::string{extension(node.format)};
}

void remove_entry(const ReplayAction& action, MergeContext& context) {
    if (action.entry.empty()) return;
    context.storage.remove(action.entry);
    context.storage.sync();
}

void show_or_hide(MergeContext& context, const TreeNode& node, bool hidden) {
    if (node.hidden == hidden || node.format == Format::raw) return; // a raw file has no flag
    ClaimedImage image{context, node, Access::read_write};
    set_hidden(context, image, hidden);
}

void require_free(MergeContext& context, std::initializer_list<const TreeNode*> nodes) {
    // Not for writing yet: the end of that would be seen as a change of the image, by ourselves as well.
    for (const TreeNode* node : nodes)
        if (node != nullptr) ClaimedImage{context, *node, Access::read_only};
    for (const TreeNode* node : nodes)
        if (node != nullptr) ClaimedImage{context, *node, Access::read_write};
}

std::set<std::string> images_of(const ReplayAction& action) {
    std::set<std::string> result{action.vdi, action.other, set_aside_name(action.vdi), action.copy};
    result.erase("");
    return result;
}

void require_planned(const ReplayAction& action, MergeContext& context, const SrTree& tree) {
    const ReplayPlan now = plan_replay(context.storage, tree, Snapshots::replayed);
    if (std::ranges::find(now.actions, action) == now.actions.end())
        throw Refused{"sm-operation", action.vdi, "has changed since the replay was planned"};
}

LockedSr enter_for(const ReplayAction& action, MergeContext& context, const SrTree& before) {
    const std::set<std::string> concerned = images_of(action);
    LockedSr sr{context, [&](const SrTree&) { return concerned; }};
    require_planned(action, context, sr.tree());
    for (const std::string& uuid : concerned) {
        const TreeNode* then = before.find(uuid);
        const TreeNode* node = sr.tree().find(uuid);
        if ((then == nullptr) != (node == nullptr) || (node != nullptr && node->identity != then->identity))
            throw Refused{"sm-operation", uuid, "has changed since it was looked at"};
    }
    return sr;
}

} // namespace coppice
