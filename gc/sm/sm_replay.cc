#include "gc/sm/sm_replay.h"

#include "coalesce/images.h"
#include "coalesce/locked_sr.h"
#include "coalesce/merge_room.h"
#include "coalesce/relink.h"
#include "format/base/error.h"
#include "gc/sm/growth_replay.h"
#include "gc/sm/replay_steps.h"
#include "gc/sm/sm_evidence.h"
#include "gc/sm/snapshot_replay.h"

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <set>

namespace coppice {
namespace {

std::string drop_entry(const ReplayAction& action, MergeContext& context, const std::string& why) {
    remove_entry(action, context);
    return "removed " + action.entry + ": " + why;
}

std::string finish_relink(const ReplayAction& action, MergeContext& context) {
    const SrTree tree = trees_holding(context, images_of(action));
    const TreeNode& merged = require_node(tree, action.vdi);
    const TreeNode& parent = require_node(tree, action.other);
    require_closed(context, tree, {merged.uuid});
    if (merged.parent != parent.uuid) throw Refused{"sm-operation", merged.uuid, "has got another parent"};
    {
        const OpenChain chain{context, tree, merged.uuid};
        const OpenChain beneath{context, tree, parent.uuid};
        const auto difference = verified_by_us(context, chain.top(), merged.uuid, parent.uuid)
                                    ? std::nullopt
                                    : first_difference(chain.top(), beneath.view(), context.stop);
        if (difference && tree.children(parent.uuid).size() > 1)
            throw Refused{"sm-operation", merged.uuid,
                          "its data from byte " + std::to_string(difference->count()) + " on is not in " + parent.uuid +
                              ", which has other children that may need it"};
        if (difference) return drop_entry(action, context, "its data is not in its parent, so it is merged again");
    }
    const auto image = open_held(context, parent, Access::read_only);
    SrTree seen = tree;
    for (bool more = true; more;) {
        const LockedSr sr = enter_for(action, context, seen);
        std::vector<std::string> all = sr.tree().children(merged.uuid);
        all.push_back(merged.uuid);
        const auto claimed = claim_all(context, sr.tree(), all);
        more = false;
        for (std::size_t i = 0; i + 1 < claimed.size() && !more; ++i) {
            relink(context, *claimed[i], as_parent(parent, *image));
            more = sr.time_is_up();
        }
        if (!more) remove_entry(action, context);
        // That we have opened a volume for writing makes it another one to whoever compares.
        if (more) seen = context.trees.current();
    }
    remove_emptied(context, {merged.uuid});
    return "completed the relinking of the children of " + merged.uuid + " to " + parent.uuid;
}

bool has_flag(const TreeNode* node, bool hidden) {
    return node == nullptr || node->hidden == hidden || node->format == Format::raw;
}

/// Each step leads to a state that the same plan makes of it, so that it does not matter where this is cut short.
std::string undo_leaf(const ReplayAction& action, MergeContext& context, const SrTree& before) {
    const LockedSr sr = enter_for(action, context, before);
    const SrTree& tree = sr.tree();
    const TreeNode* leaf = tree.find(action.vdi);
    const TreeNode* old = tree.find(set_aside_name(action.vdi));
    const TreeNode* parent = tree.find(action.other);
    // A disk in use whose names and flags are right already only loses the entry.
    if (old != nullptr || !has_flag(leaf, false) || !has_flag(parent, true)) require_free(context, {leaf, old, parent});
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
    return "undid the interrupted merge of leaf " + action.vdi + " into " + action.other + ": " + action.text;
}

std::string finish_leaf(const ReplayAction& action, MergeContext& context, const SrTree& before) {
    const LockedSr sr = enter_for(action, context, before);
    const SrTree& tree = sr.tree();
    const TreeNode* leaf = tree.find(action.vdi);
    const TreeNode* old = tree.find(set_aside_name(action.vdi));
    if (old != nullptr) require_free(context, {old});
    // Before the entry goes: without it a hidden leaf would be garbage, and a visible old one somebody's disk.
    if (leaf != nullptr && tree.children(leaf->uuid).empty()) show_or_hide(context, *leaf, false);
    if (old != nullptr) show_or_hide(context, *old, true);
    remove_entry(action, context);
    if (old != nullptr) {
        auto claimed = std::make_unique<ClaimedImage>(context, *old, Access::read_write);
        remove_image(context, claimed);
    }
    return "completed the interrupted merge of leaf " + action.vdi + ": " + action.text;
}

/// What the images prove of a leaf whose names have been exchanged.
struct Exchange {
    bool same = false;       ///< a guest of the leaf reads what one of the leaf set aside would read over it
    bool covered = false;    ///< the leaf has its own word on all that the one set aside holds
    bool untouched = false;  ///< nobody has written to the leaf since the other one got its name
    bool is_parent = true;   ///< the leaf may be what was the parent
    bool old_hidden = false; ///< the last step of the exchange was reached
};

Exchange examine(const ReplayAction& action, MergeContext& context, const SrTree& tree) {
    const TreeNode* set_aside = tree.find(set_aside_name(action.vdi));
    if (set_aside == nullptr) throw NotFound{set_aside_name(action.vdi), "it was there when the replay was planned"};
    const TreeNode& old_node = *set_aside;
    const auto old = open_held(context, old_node, Access::read_only);
    const OpenChain leaf{context, tree, action.vdi};
    Exchange found;
    found.old_hidden = old->hidden();
    const auto reference = old->parent();
    if (reference && reference->vhd_uuid && leaf.top().vhd_uuid())
        found.is_parent = reference->vhd_uuid == leaf.top().vhd_uuid();
    if (const auto renamed = old->device().changed_ns())
        found.untouched = leaf.top().device().identity().modified_ns <= *renamed;
    // Our own merges were verified and flushed before any name changed.
    found.same = !action.other.empty() && verified_by_us(context, *old, action.vdi, action.other);
    if (!found.same)
        found.same =
            old->virtual_size() == leaf.top().virtual_size() && !first_difference(*old, leaf.view(), context.stop);
    found.covered = found.same || covered(*old, leaf.view(), context.stop);
    return found;
}

/// sm exchanges names only when all data has been moved, but it does not flush. Where both images show the same, either
/// way is right. Where they differ, the data is incomplete or a guest has run since: if nobody has written to the leaf,
/// it cannot have been a guest.
std::string settle_exchange(const ReplayAction& action, MergeContext& context) {
    const SrTree tree = trees_holding(context, images_of(action));
    const Exchange found = examine(action, context, tree);
    if (found.same) return finish_leaf(action, context, tree);
    if (found.untouched && found.is_parent) return undo_leaf(action, context, tree);
    if (found.old_hidden && found.covered) return finish_leaf(action, context, tree);
    throw Refused{"sm-operation", action.vdi,
                  "lacks data that " + set_aside_name(action.vdi) +
                      " holds, and was written to since the two exchanged their names; which of them is right has to "
                      "be decided by hand"};
}

std::string drop_set_aside(const ReplayAction& action, MergeContext& context) {
    const SrTree tree = trees_holding(context, images_of(action));
    const Exchange found = examine(action, context, tree);
    if (found.same || (found.old_hidden && found.covered && !found.untouched))
        return finish_leaf(action, context, tree);
    throw Refused{"sm-operation", set_aside_name(action.vdi),
                  "holds data that " + action.vdi + " does not show, and no entry tells how far its merge had come"};
}

std::string carry_out(const ReplayAction& action, MergeContext& context) {
    switch (action.kind) {
    case ReplayAction::Kind::remove_entry:
        return drop_entry(action, context, action.text);
    case ReplayAction::Kind::finish_relink:
        return finish_relink(action, context);
    case ReplayAction::Kind::undo_leaf:
        return undo_leaf(action, context, trees_holding(context, images_of(action)));
    case ReplayAction::Kind::finish_leaf:
        return finish_leaf(action, context, trees_holding(context, images_of(action)));
    case ReplayAction::Kind::settle_exchange:
        return settle_exchange(action, context);
    case ReplayAction::Kind::drop_set_aside:
        return drop_set_aside(action, context);
    case ReplayAction::Kind::undo_snapshot:
        return undo_snapshot(action, context);
    case ReplayAction::Kind::finish_growth:
        return finish_growth(action, context);
    case ReplayAction::Kind::finish_snapshot:
        return finish_snapshot(action, context);
    }
    return {};
}

} // namespace

namespace {

/// The interrupted merge that `action` is about.
Step step_of(const ReplayAction& action) {
    Step step;
    step.kind = action.entry.starts_with("leaf_") ? StepKind::leaf_coalesce : StepKind::coalesce;
    step.vdi = action.vdi;
    if (!action.other.empty()) step.into = action.other;
    step.direction = Direction::down; // sm knows no other one
    return step;
}

} // namespace

namespace {

/// Volumes get the sizes that sm gives to what is left: a disk its full size, a hidden image no more than it needs.
void settle_sizes(const ReplayAction& action, MergeContext& context) {
    if (action.kind == ReplayAction::Kind::remove_entry || is_of_snapshot(action) ||
        action.kind == ReplayAction::Kind::finish_growth)
        return;
    for (const std::string& uuid : {action.vdi, action.other}) {
        Step step;
        step.survivor = uuid;
        settle_size(step, true, context);
    }
}

} // namespace

ReplayOutcome execute_replay(const ReplayPlan& plan, MergeContext& context, const Postponed& postponed) {
    ReplayOutcome outcome;
    outcome.frozen = plan.frozen;
    for (const ReplayAction& action : plan.actions) {
        const auto wait = action.kind == ReplayAction::Kind::finish_relink ? postponed(step_of(action)) : std::nullopt;
        if (wait) { // its entry stays, and whoever finds it leaves the tree alone
            for (const auto& [vdi, text] : pending_vdis({{action}, {}}))
                outcome.frozen.emplace(vdi, text + "; not now: " + wait->text);
            continue;
        }
        try {
            outcome.notes.push_back(carry_out(action, context));
            settle_sizes(action, context);
        } catch (const StopRequested&) {
            throw;
        } catch (const std::exception& error) { // hostile bytes may also overflow or exhaust something
            // One tree's trouble is not another's: what the action was about waits.
            outcome.notes.push_back("could not replay " +
                                    (action.entry.empty() ? set_aside_name(action.vdi) : action.entry) + ": " +
                                    error.what());
            for (const auto& [vdi, text] : pending_vdis({{action}, {}}))
                outcome.frozen.emplace(vdi, text + "; not now: " + error.what());
            if (const auto* system = dynamic_cast<const SystemError*>(&error))
                outcome.failed.push_back({step_of(action), *system});
        }
    }
    return outcome;
}

} // namespace coppice
