#include "gc/sm_replay.h"

#include "coalesce/relink.h"
#include "format/base/error.h"
#include "format/base/log.h"

namespace coppice {
namespace {

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

void finish_relink(const ReplayAction& action, MergeContext& context) {
    const SrTree tree = context.trees.current();
    const TreeNode& parent = require_node(tree, action.other);
    const auto image = open_image(context.storage.open(parent.file, Access::read_only), parent.format);
    for (const std::string& uuid : tree.children(action.vdi)) {
        ClaimedImage child{context, require_node(tree, uuid), Access::read_write};
        relink(context, child, as_parent(parent, *image));
    }
    remove_entry(action, context);
    remove_emptied(context, {action.vdi});
}

/// Each step leads to a state that the same plan makes of it, so that it does not matter where this is cut short.
void undo_leaf(const ReplayAction& action, MergeContext& context) {
    const SrTree tree = context.trees.current();
    const TreeNode* leaf = tree.find(action.vdi);
    const TreeNode* old = tree.find("OLD_" + action.vdi);
    const TreeNode* parent = tree.find(action.other);
    if (leaf != nullptr && old != nullptr && parent == nullptr) {
        const ClaimedImage claimed{context, *leaf, Access::read_write};
        context.storage.rename(leaf->file, file_of(action.other, *leaf));
        context.storage.sync();
    }
    if (old != nullptr) {
        show_or_hide(context, *old, false);
        const ClaimedImage claimed{context, *old, Access::read_write};
        context.storage.rename(old->file, file_of(action.vdi, *old));
        context.storage.sync();
    }
    const SrTree now = context.trees.current();
    if (const TreeNode* node = now.find(action.vdi)) show_or_hide(context, *node, false);
    if (const TreeNode* node = now.find(action.other)) show_or_hide(context, *node, true);
    remove_entry(action, context);
}

void finish_leaf(const ReplayAction& action, MergeContext& context) {
    const SrTree tree = context.trees.current();
    if (const TreeNode* leaf = tree.find(action.vdi)) show_or_hide(context, *leaf, false);
    const TreeNode* old = tree.find("OLD_" + action.vdi);
    // Hidden before the entry goes: without it a visible one would look like somebody's disk.
    if (old != nullptr) show_or_hide(context, *old, true);
    remove_entry(action, context);
    if (old == nullptr) return;
    const ClaimedImage claimed{context, *old, Access::read_write};
    context.storage.remove(old->file);
    context.storage.sync();
}

void carry_out(const ReplayAction& action, MergeContext& context) {
    switch (action.kind) {
    case ReplayAction::Kind::remove_entry:
        return remove_entry(action, context);
    case ReplayAction::Kind::finish_relink:
        return finish_relink(action, context);
    case ReplayAction::Kind::undo_leaf:
        return undo_leaf(action, context);
    case ReplayAction::Kind::finish_leaf:
        return finish_leaf(action, context);
    }
}

std::string sentence(const ReplayAction& action) {
    switch (action.kind) {
    case ReplayAction::Kind::remove_entry:
        return "removed " + action.entry + ": " + action.text;
    case ReplayAction::Kind::finish_relink:
        return "completed the relinking of the children of " + action.vdi + ": " + action.text;
    case ReplayAction::Kind::undo_leaf:
        return "undid the interrupted merge of leaf " + action.vdi + ": " + action.text;
    case ReplayAction::Kind::finish_leaf:
        return "completed the interrupted merge of leaf " + action.vdi + ": " + action.text;
    }
    return {};
}

} // namespace

ReplayOutcome execute_replay(const ReplayPlan& plan, MergeContext& context) {
    ReplayOutcome outcome;
    outcome.frozen = plan.frozen;
    for (const ReplayAction& action : plan.actions) {
        try {
            carry_out(action, context);
            outcome.notes.push_back(sentence(action));
        } catch (const Error& error) {
            // One tree's trouble is not another's: what the action was about waits.
            outcome.notes.push_back("could not replay " + (action.entry.empty() ? "OLD_" + action.vdi : action.entry) +
                                    ": " + error.what());
            for (const auto& [vdi, text] : pending_vdis({{action}, {}}))
                outcome.frozen.emplace(vdi, error.what());
        }
    }
    return outcome;
}

} // namespace coppice
