#include "coalesce/recover.h"

#include "coalesce/edit_recovery.h"
#include "coalesce/execute.h"
#include "coalesce/images.h"
#include "coalesce/locked_sr.h"
#include "coalesce/merge_operation.h"
#include "coalesce/merge_room.h"
#include "coalesce/step_json.h"
#include "coalesce/still_valid.h"
#include "coalesce/verify.h"
#include "format/base/error.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>

namespace coppice {
namespace {

std::string stem(const std::string& file) {
    return file.substr(0, file.rfind('.'));
}

/// Whether the target still holds all that is about to be taken away from beneath or above it. It may have been
/// restored or rolled back since the data was copied.
bool nothing_missing(const Step& step, const SrTree& tree, MergeContext& context) {
    std::vector<std::unique_ptr<Image>> images;
    std::vector<const Image*> sources;
    for (const std::string& uuid : step.emptied) {
        const TreeNode* node = tree.find(uuid);
        if (node == nullptr) return true; // the first is deleted when all is relinked
        images.push_back(open_held(context, *node, Access::read_only));
        sources.push_back(images.back().get());
    }
    const TreeNode& into = require_node(tree, *step.into);
    const auto target = open_held(context, into, Access::read_only);
    const bool down = step.direction == Direction::down;
    const auto ancestors = open_ancestors(context, tree, down ? into.uuid : step.emptied.back());
    std::vector<const Image*> views;
    for (const auto& image : ancestors)
        views.push_back(image.get());
    const ChainView beneath{views};
    const Bytes end = target->virtual_size();
    if (down && end < sources.front()->virtual_size()) return false;
    const MergePass pass{
        sources, *target, {beneath, beneath}, end, down ? MergePass::Rank::newer : MergePass::Rank::older};
    return !first_missing(pass, *target, context.stop) && !first_difference(pass, *target, context.stop);
}

void abandon(MergeContext& context, const journal::Operation& operation, const std::string& why, Recovery& recovery) {
    context.journal.set_state(operation.id, journal::OperationState::abandoned, why);
    recovery.notes.push_back("gave up the recorded merge of " + operation.vdi + " into " + operation.into + ": " + why);
}

/// Whether a leaf that was to take over the name of the merged image has done so. Its fingerprint cannot tell: the file
/// under its name is another one now.
bool names_exchanged(const Step& step, const SrTree& tree) {
    return step.kind == StepKind::leaf_coalesce && step.direction == Direction::down &&
           tree.find(*step.into) == nullptr && tree.find(step.vdi) != nullptr;
}

/// Before any of the images is opened for writing: that would be seen as a change of it as soon as it is closed, also
/// where nothing was written, and we would be woken by ourselves for ever.
void require_nobody_has_them(MergeContext& context, const SrTree& tree, const Step& step) {
    const bool down = step.direction == Direction::down;
    require_closed(context, tree, {down ? step.vdi : *step.into});
    std::vector<std::string> written{down ? step.vdi : *step.into};
    if (down) std::ranges::copy(tree.children(step.vdi), std::back_inserter(written));
    for (const std::string& uuid : written) {
        const TreeNode* node = tree.find(uuid);
        if (node == nullptr) continue;
        const auto device = context.storage.open(node->file, Access::read_only);
        if (const auto holder = context.occupancy.lock_holder(*device)) throw held_open(node->file, *holder);
    }
}

void finish(MergeContext& context, const journal::Operation& operation, Recovery& recovery) {
    const Step step = step_from_json(operation.step);
    std::set<std::string> images{step.emptied.begin(), step.emptied.end()};
    images.insert(*step.into);
    const SrTree tree = trees_holding(context, images);
    if (!names_exchanged(step, tree)) {
        for (const std::string& uuid : step.emptied)
            if (tree.find(uuid) != nullptr) require_node(tree, uuid);
        if (tree.find(*step.into) != nullptr) require_node(tree, *step.into);
        if (const auto why = changed_since(step, operation.sources, operation.cursor, tree))
            return abandon(context, operation, *why, recovery);
        require_nobody_has_them(context, tree, step);
        if (!nothing_missing(step, tree, context))
            return abandon(context, operation, "the target lacks data that it had", recovery);
        complete(step, operation, context);
    } else {
        settle_size(step, true, context);
    }
    context.journal.set_state(operation.id, journal::OperationState::done);
    recovery.notes.push_back("completed the interrupted merge of " + step.vdi + " into " + *step.into);
    recovery.finished.push_back({step, 0, operation.copied_bytes, operation.shared_bytes, true, {}, {}});
}

/// What has not been completed goes on at its cursor when it is planned again. Where an image of it was deleted it
/// never is, and would stay recorded for ever. Absent is not gone (INV-6): only a look that saw everything tells.
void give_up_without_images(MergeContext& context, const journal::Operation& operation, Recovery& recovery) {
    const Step step = step_from_json(operation.step);
    std::vector<std::string> images = step.emptied;
    images.push_back(operation.into);
    const SrTree tree = context.trees.current();
    if (!tree.complete) return;
    for (const std::string& uuid : images)
        if (tree.find(uuid) == nullptr) return abandon(context, operation, uuid + " is gone", recovery);
}

void recover_operation(MergeContext& context, const journal::Operation& operation, const Postponed& postponed,
                       Recovery& recovery) {
    if (operation.state != journal::OperationState::relinking)
        return give_up_without_images(context, operation, recovery);
    const Step recorded = step_from_json(operation.step);
    if (const auto postponement = postponed(recorded)) {
        for (const std::string& vdi : {operation.vdi, operation.into})
            if (postponement->freezes) recovery.frozen[vdi] = postponement->text;
        return;
    }
    try {
        finish(context, operation, recovery);
    } catch (const Refused& error) {
        // Somebody holds an image: the operation stays recorded, and until it can be finished its tree is left alone.
        for (const std::string& vdi : {operation.vdi, operation.into})
            recovery.frozen[vdi] = error.what();
    } catch (const Busy& error) {
        for (const std::string& vdi : {operation.vdi, operation.into})
            recovery.frozen[vdi] = error.what();
    } catch (const NotFound& error) {
        abandon(context, operation, error.what(), recovery);
    } catch (const SystemError& error) {
        for (const std::string& vdi : {operation.vdi, operation.into})
            recovery.frozen[vdi] = error.what();
        recovery.failed.push_back({recorded, error});
    } catch (const Error& error) {
        // One tree's trouble is not another's.
        for (const std::string& vdi : {operation.vdi, operation.into})
            recovery.frozen[vdi] = error.what();
        recovery.notes.push_back("could not complete the merge of " + operation.vdi + " into " + operation.into + ": " +
                                 error.what());
        recovery.refused.push_back({recorded, 0, {}, {}, false, error.what(), "retry-later"});
    }
}

} // namespace

namespace {

/// Those whose header is half changed, by node.
std::set<std::string> half_changed(MergeContext& context) {
    std::set<std::string> nodes;
    for (const journal::PendingEdit& edit : context.journal.pending_edits())
        nodes.insert(stem(edit.image));
    return nodes;
}

} // namespace

Recovery recover_header_edits(MergeContext& context) {
    Recovery recovery;
    const std::set<std::string> nodes = half_changed(context);
    if (nodes.empty()) return recovery;
    std::optional<LockedSr> sr;
    try {
        sr.emplace(context, [&](const SrTree&) { return nodes; });
    } catch (const Busy& busy) {
        for (const std::string& node : nodes)
            recovery.frozen[node] = busy.what();
        return recovery;
    }
    for (const RecoveredEdit& edit : recover_edits(context.storage, context.journal, context.occupancy)) {
        if (edit.outcome == RecoveredEdit::Outcome::in_use)
            recovery.frozen[stem(edit.image)] = edit.text; // for as long as it lasts: no event of its own each time
        else
            recovery.notes.push_back(edit.image + ": " + edit.text);
    }
    return recovery;
}

Recovery recover_operations(MergeContext& context, const std::map<std::string, std::string>& frozen,
                            const Postponed& postponed) {
    Recovery recovery;
    for (const journal::Operation& operation : context.journal.unfinished())
        if (!frozen.contains(operation.vdi) && !frozen.contains(operation.into))
            recover_operation(context, operation, postponed, recovery);
    return recovery;
}

} // namespace coppice
