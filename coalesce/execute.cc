#include "coalesce/execute.h"

#include "coalesce/locked_sr.h"
#include "coalesce/merge_operation.h"
#include "coalesce/merge_room.h"
#include "coalesce/relink.h"
#include "coalesce/sliced_merge.h"
#include "coalesce/still_valid.h"
#include "format/base/error.h"
#include "format/base/log.h"

#include <algorithm>
#include <chrono>

namespace coppice {
namespace {

// Children that change their parent in one passage.
constexpr std::size_t children_at_once = 16;

bool contains(const std::vector<std::string>& list, const std::string& item) {
    return std::ranges::find(list, item) != list.end();
}

void execute_collect(const Step& step, MergeContext& context) {
    remove_emptied(context, {step.vdi});
}

/// Ends what a merge has begun, in short passages. In each of them the SR is looked at again first.
class Completion {
public:
    Completion(const Step& step, const journal::Operation& operation, MergeContext& context)
        : step_{step}, operation_{operation}, context_{context} {}

    void down();
    void up();
    void leaf_down();

private:
    void require_as_recorded(const SrTree& tree) const;
    bool relink_some(bool tell_sm);
    std::vector<std::string> next_children(const SrTree& tree) const;
    void relink_leaf();
    void remember_change(const TreeNode& source);

    const Step& step_;
    journal::Operation operation_;
    MergeContext& context_;
};

void Completion::require_as_recorded(const SrTree& tree) const {
    if (const auto why = changed_since(step_, operation_.sources, operation_.cursor, tree))
        throw Refused{"sm-operation", step_.vdi, *why};
}

/// Children of the emptied image for one passage: only their leaves have to be free for it.
std::vector<std::string> Completion::next_children(const SrTree& tree) const {
    std::vector<std::string> next;
    for (const std::string& uuid : tree.children(step_.vdi))
        if (next.size() < children_at_once && !contains(step_.emptied, uuid)) next.push_back(uuid);
    return next;
}

/// Gives children of the emptied image `into`, which is complete and flushed, as their parent. False when there is none
/// left.
bool Completion::relink_some(bool tell_sm) {
    const std::string entry = "relink_" + step_.vdi;
    const LockedSr sr{context_,
                      [&](const SrTree& tree) {
                          const auto next = next_children(tree);
                          return std::set<std::string>{next.begin(), next.end()};
                      },
                      LockedSr::Ready::to_write};
    const bool unfinished = sr.tree().find(step_.vdi) != nullptr;
    if (unfinished) require_as_recorded(sr.tree());
    const std::vector<std::string> next = next_children(sr.tree());
    if (next.empty()) {
        if (tell_sm && context_.storage.exists(entry)) {
            context_.storage.remove(entry);
            context_.storage.sync();
        }
        return false;
    }
    const TreeNode& into = require_node(sr.tree(), *step_.into);
    const auto target = open_held(context_, into, Access::read_only);
    const auto children = claim_all(context_, sr.tree(), next);
    if (tell_sm) write_small_file(context_.storage, entry, "1");
    for (const auto& child : children) {
        relink(context_, *child, as_parent(into, *target));
        if (sr.time_is_up()) break;
    }
    return true;
}

void Completion::down() {
    // sm understands this entry only where the merged image's own parent is the target; with several levels every state
    // on the way is an ordinary tree, and our own journal knows the rest.
    const bool tell_sm = step_.emptied.size() == 1;
    while (relink_some(tell_sm)) {
    }
    remove_emptied(context_, step_.emptied);
}

void Completion::up() {
    {
        const LockedSr sr{context_, [&](const SrTree&) { return std::set<std::string>{*step_.into}; },
                          LockedSr::Ready::to_write};
        require_as_recorded(sr.tree());
        const TreeNode& into = require_node(sr.tree(), *step_.into);
        if (into.parent != step_.parent_after) {
            std::optional<NewParent> parent;
            if (step_.parent_after) {
                const TreeNode& node = require_node(sr.tree(), *step_.parent_after);
                const auto image = open_held(context_, node, Access::read_only);
                parent = as_parent(node, *image);
            }
            ClaimedImage target{context_, into, Access::read_write};
            relink(context_, target, parent);
        }
    }
    remove_emptied(context_, step_.emptied);
}

/// A source that we have changed ourselves is still the one whose data was read. Without this word recovery takes it
/// for changed by a guest: safe, but it would do the merge again.
void Completion::remember_change(const TreeNode& source) {
    for (journal::Fingerprint& known : operation_.sources)
        if (known.vdi == source.uuid)
            known.identity = context_.storage.open(source.file, Access::read_only)->identity();
    context_.journal.set_sources(operation_.id, operation_.sources);
}

void Completion::relink_leaf() {
    const LockedSr sr{context_, [&](const SrTree&) { return std::set<std::string>{step_.vdi}; }};
    const TreeNode* node = sr.tree().find(step_.vdi);
    if (node == nullptr || node->parent == step_.into) return;
    require_as_recorded(sr.tree());
    const TreeNode& into = require_node(sr.tree(), *step_.into);
    const auto target = open_held(context_, into, Access::read_only);
    ClaimedImage child{context_, *node, Access::read_write};
    relink(context_, child, as_parent(into, *target));
    remember_change(*node);
}

void Completion::leaf_down() {
    // Levels between the leaf and the target go first, so that the exchange of names has two images only.
    if (step_.emptied.size() > 1) {
        if (context_.trees.current().find(*step_.into) != nullptr) relink_leaf();
        remove_emptied(context_, {step_.emptied.begin() + 1, step_.emptied.end()});
    }
    {
        std::vector<std::unique_ptr<ClaimedImage>> freed; // behind the passage
        const LockedSr sr{context_, [&](const SrTree&) { return std::set<std::string>{step_.vdi, *step_.into}; }};
        if (sr.tree().find(*step_.into) == nullptr) return; // the names are exchanged already
        require_as_recorded(sr.tree());
        freed = replace_leaf(context_, sr, step_.vdi, *step_.into);
    }
    if (!context_.storage.removes_open_objects()) remove_set_aside(context_, step_.vdi);
}

} // namespace

void complete(const Step& step, const journal::Operation& operation, MergeContext& context) {
    const bool inflated = is_inflated(step, context.trees.current(), context.storage);
    Completion completion{step, operation, context};
    if (step.direction == Direction::up)
        completion.up();
    else if (step.kind == StepKind::leaf_coalesce)
        completion.leaf_down();
    else
        completion.down();
    settle_size(step, inflated, context);
}

StepResult execute(const Step& step, MergeContext& context) {
    const auto began = std::chrono::steady_clock::now();
    StepResult result;
    result.step = step;
    if (step.kind == StepKind::collect) {
        execute_collect(step, context);
    } else {
        if (step.in_slices) {
            SlicedMerge slices{step, context};
            slices.run();
            result.copied = slices.moved().copied;
            result.shared = slices.moved().shared;
        }
        MergeOperation operation{step, context};
        operation.merge();
        complete(step, operation.record(), context);
        operation.close();
        result.copied += operation.copied();
        result.shared += operation.shared();
        result.resumed = operation.resumed();
    }
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    return result;
}

} // namespace coppice
