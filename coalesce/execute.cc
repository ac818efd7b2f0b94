#include "coalesce/execute.h"

#include "coalesce/merge_operation.h"
#include "coalesce/relink.h"
#include "format/base/error.h"
#include "format/base/log.h"

#include <algorithm>
#include <chrono>

namespace coppice {
namespace {

bool contains(const std::vector<std::string>& list, const std::string& item) {
    return std::ranges::find(list, item) != list.end();
}

void execute_collect(const Step& step, MergeContext& context) {
    remove_emptied(context, {step.vdi});
}

/// Every child of `from` that is not itself emptied gets `into` as its parent. `into` is complete and flushed.
void relink_children(const Step& step, MergeContext& context, const std::string& from) {
    const SrTree tree = context.trees.current();
    const TreeNode& into = require_node(tree, *step.into);
    const auto target = open_image(context.storage.open(into.file, Access::read_only), into.format);
    const NewParent parent = as_parent(into, *target);
    for (const std::string& uuid : tree.children(from)) {
        if (contains(step.emptied, uuid)) continue;
        ClaimedImage child{context, require_node(tree, uuid), Access::read_write};
        relink(context, child, parent);
    }
}

void complete_down(const Step& step, MergeContext& context) {
    // sm understands this entry only where the merged image's own parent is the target; with several levels every state
    // on the way is an ordinary tree, and our own journal knows the rest.
    const std::string entry = "relink_" + step.vdi;
    const bool tell_sm = step.emptied.size() == 1;
    if (tell_sm) write_small_file(context.storage, entry, "1");
    relink_children(step, context, step.vdi);
    if (tell_sm) {
        context.storage.remove(entry);
        context.storage.sync();
    }
    remove_emptied(context, step.emptied);
}

void complete_up(const Step& step, MergeContext& context) {
    const SrTree tree = context.trees.current();
    const TreeNode& into = require_node(tree, *step.into);
    if (into.parent != step.parent_after) {
        std::optional<NewParent> parent;
        if (step.parent_after) {
            const TreeNode& node = require_node(tree, *step.parent_after);
            const auto image = open_image(context.storage.open(node.file, Access::read_only), node.format);
            parent = as_parent(node, *image);
        }
        ClaimedImage target{context, into, Access::read_write};
        relink(context, target, parent);
    }
    remove_emptied(context, step.emptied);
}

/// A source that we have changed ourselves is still the one whose data was read. Without this word recovery takes it
/// for changed by a guest: safe, but it would do the merge again.
void remember_change(const Step& step, MergeContext& context, const TreeNode& source) {
    for (journal::Operation& operation : context.journal.unfinished()) {
        if (operation.vdi != step.vdi || operation.into != *step.into) continue;
        for (journal::Fingerprint& known : operation.sources)
            if (known.vdi == source.uuid)
                known.identity = context.storage.open(source.file, Access::read_only)->identity();
        context.journal.set_sources(operation.id, operation.sources);
    }
}

void complete_leaf_down(const Step& step, MergeContext& context) {
    // Levels between the leaf and the target go first, so that the exchange of names has two images only.
    const std::string leaf = step.vdi;
    if (step.emptied.size() > 1) {
        const SrTree tree = context.trees.current();
        const TreeNode* node = tree.find(leaf);
        if (node != nullptr && node->parent != step.into) {
            const TreeNode& into = require_node(tree, *step.into);
            const auto target = open_image(context.storage.open(into.file, Access::read_only), into.format);
            ClaimedImage child{context, *node, Access::read_write};
            relink(context, child, as_parent(into, *target));
            remember_change(step, context, *node);
        }
        remove_emptied(context, {step.emptied.begin() + 1, step.emptied.end()});
    }
    const SrTree tree = context.trees.current();
    if (tree.find(*step.into) == nullptr) return; // the names are exchanged already
    replace_leaf(context, leaf, *step.into);
}

} // namespace

void complete(const Step& step, MergeContext& context) {
    if (step.direction == Direction::up)
        complete_up(step, context);
    else if (step.kind == StepKind::leaf_coalesce)
        complete_leaf_down(step, context);
    else
        complete_down(step, context);
}

StepResult execute(const Step& step, MergeContext& context) {
    const auto began = std::chrono::steady_clock::now();
    StepResult result;
    result.step = step;
    if (step.kind == StepKind::collect) {
        execute_collect(step, context);
    } else {
        MergeOperation operation{step, context};
        operation.merge();
        complete(step, context);
        operation.close();
        result.copied = operation.copied();
        result.shared = operation.shared();
        result.resumed = operation.resumed();
    }
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    return result;
}

} // namespace coppice
