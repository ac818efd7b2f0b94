#include "coalesce/recover.h"

#include "coalesce/edit_log.h"
#include "coalesce/execute.h"
#include "coalesce/images.h"
#include "coalesce/merge_operation.h"
#include "coalesce/step_json.h"
#include "coalesce/verify.h"
#include "format/base/error.h"

#include <algorithm>

namespace coppice {
namespace {

std::string stem(const std::string& file) {
    return file.substr(0, file.rfind('.'));
}

/// Whether every image that still exists is what it was: a source to the byte (what a guest has written to a leaf since
/// is not in the target), the target as the file that the data was poured into.
bool images_unchanged(const journal::Operation& operation, const SrTree& tree, Storage& storage) {
    return std::ranges::all_of(operation.sources, [&](const journal::Fingerprint& recorded) {
        const TreeNode* node = tree.find(recorded.vdi);
        if (node == nullptr) return recorded.vdi != operation.into;
        const FileIdentity now = storage.open(node->file, Access::read_only)->identity();
        if (recorded.vdi == operation.into) return target_may_hold_data(operation, {recorded.vdi, now});
        return now == recorded.identity;
    });
}

/// Whether the links are those of before the step, or those on its way: since then sm may have made a snapshot, which
/// gives the name of a leaf to a new image, or have merged something itself.
bool links_expected(const Step& step, const SrTree& tree) {
    const TreeNode& into = require_node(tree, *step.into);
    const bool down = step.direction == Direction::down;
    const bool relinked = !down && into.parent == step.parent_after;
    std::optional<std::string> child; // that has to have the next one as its parent
    if (!down && !relinked) child = into.uuid;
    for (const std::string& uuid : step.emptied) {
        const TreeNode* node = tree.find(uuid);
        // They are deleted newest first, and only when nothing refers to them any more.
        if (node == nullptr && child) return false;
        if (node == nullptr) continue;
        if (child && require_node(tree, *child).parent != uuid) return false;
        child = uuid;
    }
    if (!child) return true;
    const std::optional<std::string> last = down ? step.into : step.parent_after;
    return require_node(tree, *child).parent == last;
}

/// Whether the target still maps all that is about to be taken away from beneath or above it.
bool nothing_missing(const Step& step, const SrTree& tree, MergeContext& context) {
    std::vector<std::unique_ptr<Image>> images;
    std::vector<const Image*> sources;
    for (const std::string& uuid : step.emptied) {
        const TreeNode* node = tree.find(uuid);
        if (node == nullptr) return true; // the first is deleted when all is relinked
        images.push_back(open_image(context.storage.open(node->file, Access::read_only), node->format));
        sources.push_back(images.back().get());
    }
    const TreeNode& into = require_node(tree, *step.into);
    const auto target = open_image(context.storage.open(into.file, Access::read_only), into.format);
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
    return !first_missing(pass, *target, context.stop);
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

void finish(MergeContext& context, const journal::Operation& operation, Recovery& recovery) {
    const Step step = step_from_json(operation.step);
    const SrTree tree = context.trees.current();
    if (!names_exchanged(step, tree)) {
        if (tree.find(*step.into) == nullptr) return abandon(context, operation, "its target is gone", recovery);
        if (!images_unchanged(operation, tree, context.storage))
            return abandon(context, operation, "an image has changed since the data was copied", recovery);
        if (!links_expected(step, tree))
            return abandon(context, operation, "other images have taken their places since", recovery);
        if (!nothing_missing(step, tree, context))
            return abandon(context, operation, "the target lacks data that it had", recovery);
        complete(step, context);
    }
    context.journal.set_state(operation.id, journal::OperationState::done);
    recovery.notes.push_back("completed the interrupted merge of " + step.vdi + " into " + *step.into);
    recovery.finished.push_back({step, 0, operation.copied_bytes, operation.shared_bytes, true, {}, {}});
}

void recover_operation(MergeContext& context, const journal::Operation& operation, Recovery& recovery) {
    if (operation.state != journal::OperationState::relinking) return; // the plan will take it up at its cursor
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
        recovery.failed.push_back({step_from_json(operation.step), error});
    } catch (const Error& error) {
        // One tree's trouble is not another's.
        for (const std::string& vdi : {operation.vdi, operation.into})
            recovery.frozen[vdi] = error.what();
        recovery.notes.push_back("could not complete the merge of " + operation.vdi + " into " + operation.into + ": " +
                                 error.what());
    }
}

} // namespace

Recovery recover_header_edits(MergeContext& context) {
    Recovery recovery;
    for (const RecoveredEdit& edit : recover_edits(context.storage, context.journal, context.occupancy)) {
        if (edit.outcome == RecoveredEdit::Outcome::in_use) recovery.frozen[stem(edit.image)] = edit.text;
        recovery.notes.push_back(edit.image + ": " + edit.text);
    }
    return recovery;
}

Recovery recover_operations(MergeContext& context, const std::map<std::string, std::string>& frozen) {
    Recovery recovery;
    for (const journal::Operation& operation : context.journal.unfinished())
        if (!frozen.contains(operation.vdi) && !frozen.contains(operation.into))
            recover_operation(context, operation, recovery);
    return recovery;
}

} // namespace coppice
