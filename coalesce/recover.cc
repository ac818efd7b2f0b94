#include "coalesce/recover.h"

#include "coalesce/edit_log.h"
#include "coalesce/execute.h"
#include "coalesce/step_json.h"
#include "format/base/error.h"

#include <algorithm>

namespace coppice {
namespace {

std::string stem(const std::string& file) {
    return file.substr(0, file.rfind('.'));
}

/// Whether every source that still exists is what it was when its data was read. A leaf that a guest has written to
/// since is not: its new data is not in the target.
bool sources_unchanged(const journal::Operation& operation, const SrTree& tree, Storage& storage) {
    return std::ranges::all_of(operation.sources, [&](const journal::Fingerprint& source) {
        const TreeNode* node = tree.find(source.vdi);
        return node == nullptr || storage.open(node->file, Access::read_only)->identity() == source.identity;
    });
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
        if (!sources_unchanged(operation, tree, context.storage))
            return abandon(context, operation, "a source has changed since its data was read", recovery);
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

Recovery recover_operations(MergeContext& context) {
    Recovery recovery;
    for (const journal::Operation& operation : context.journal.unfinished())
        recover_operation(context, operation, recovery);
    return recovery;
}

} // namespace coppice
