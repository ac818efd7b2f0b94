#include "gc/sm/snapshot_replay.h"

#include "coalesce/merge_room.h"
#include "coalesce/relink.h"
#include "format/base/error.h"
#include "gc/sm/replay_steps.h"

namespace coppice {
namespace {

// LVM clears as much of a new volume; what a deleted one has left behind it may stand there again.
constexpr Bytes cleared = 4_KiB;

/// A child that no guest can have written to. sm unpauses the disk only when the entry is gone.
void require_empty(MergeContext& context, const SrTree& tree, const TreeNode& child, const std::string& base) {
    if (is_blank(context.storage, child)) return;
    const auto refuse = [&](const std::string& why) {
        throw Refused{"sm-operation", child.uuid, why + ", so the snapshot it was made for is not undone"};
    };
    if (child.state != NodeState::ok) refuse("cannot be used (" + child.text + ")");
    if (child.parent != base) refuse("does not stand on " + base);
    if (!tree.children(child.uuid).empty()) refuse("has children");
    const auto image = open_held(context, child, Access::read_only);
    if (!image->map({0_B, image->virtual_size()}).empty()) refuse("holds data");
}

void settle(MergeContext& context, const std::string& uuid) {
    Step step;
    step.survivor = uuid;
    settle_size(step, true, context);
}

} // namespace

bool is_blank(Storage& storage, const TreeNode& node) {
    if (node.state == NodeState::ok) return false;
    const auto device = storage.open(node.file, Access::read_only);
    return all_zero(device->read_at(0_B, std::min(cleared, device->size())));
}

std::string undo_snapshot(const ReplayAction& action, MergeContext& context) {
    const SrTree before = trees_holding(context, images_of(action));
    {
        const LockedSr sr = enter_for(action, context, before);
        const TreeNode& base = require_node(sr.tree(), action.other);
        for (const std::string& uuid : {action.copy, action.vdi}) {
            const TreeNode* child = sr.tree().find(uuid);
            if (child != nullptr) require_empty(context, sr.tree(), *child, base.uuid);
        }
        require_closed(context, sr.tree(), images_of(action));
        for (const std::string& uuid : {action.copy, action.vdi})
            if (const TreeNode* child = sr.tree().find(uuid)) context.storage.remove(child->file);
        context.storage.sync();
        show_or_hide(context, base, false);
    }
    // With its room before it has its name: nobody looks for what is missing afterwards.
    settle(context, action.other);
    const SrTree shown = context.trees.current();
    const LockedSr sr = enter_for(action, context, shown);
    const TreeNode& base = require_node(sr.tree(), action.other);
    {
        const ClaimedImage claimed{context, base, Access::read_write};
        context.storage.unseal(base.file);
        context.storage.rename(base.file, file_of(action.vdi, base));
        context.storage.sync();
    }
    remove_entry(action, context);
    return "undid an interrupted snapshot of " + action.vdi + ": " + action.text;
}

std::string finish_snapshot(const ReplayAction& action, MergeContext& context) {
    const SrTree before = trees_holding(context, images_of(action));
    {
        const LockedSr sr = enter_for(action, context, before);
        show_or_hide(context, require_node(sr.tree(), action.other), true);
        remove_entry(action, context);
    }
    settle(context, action.other);
    return "completed an interrupted snapshot of " + action.vdi + ": " + action.text;
}

} // namespace coppice
