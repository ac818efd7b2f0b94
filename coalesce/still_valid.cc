#include "coalesce/still_valid.h"

#include <algorithm>

namespace coppice {
namespace {

/// Whether every image that still exists is what it was: a source to the byte (what a guest has written to a leaf since
/// is not in the target), the target as the file that the data was poured into.
bool images_unchanged(const Step& step, const std::vector<journal::Fingerprint>& sources, Bytes cursor,
                      const SrTree& tree) {
    return std::ranges::all_of(sources, [&](const journal::Fingerprint& recorded) {
        const TreeNode* node = tree.find(recorded.vdi);
        if (node == nullptr) return recorded.vdi != *step.into;
        if (recorded.vdi == *step.into) return target_may_hold_data(sources, cursor, {recorded.vdi, node->identity});
        return node->identity == recorded.identity;
    });
}

/// Whether the links are those of before the step, or those on its way: since then sm may have made a snapshot, which
/// gives the name of a leaf to a new image, or have merged something itself.
bool links_expected(const Step& step, const SrTree& tree) {
    const TreeNode& into = *tree.find(*step.into);
    const bool down = step.direction == Direction::down;
    const bool relinked = !down && into.parent == step.parent_after;
    // The levels between a leaf and the target go first; that its header is ours is told by its state.
    if (down && step.kind == StepKind::leaf_coalesce)
        if (const TreeNode* leaf = tree.find(step.vdi); leaf != nullptr && leaf->parent == into.uuid) return true;
    std::optional<std::string> child; // that has to have the next one as its parent
    if (!down && !relinked) child = into.uuid;
    for (const std::string& uuid : step.emptied) {
        const TreeNode* node = tree.find(uuid);
        // They are deleted newest first, and only when nothing refers to them any more.
        if (node == nullptr && child) return false;
        if (node == nullptr) continue;
        if (child && tree.find(*child)->parent != uuid) return false;
        child = uuid;
    }
    if (!child) return true;
    const std::optional<std::string> last = down ? step.into : step.parent_after;
    return tree.find(*child)->parent == last;
}

} // namespace

bool target_may_hold_data(const std::vector<journal::Fingerprint>& recorded, Bytes cursor,
                          const journal::Fingerprint& now) {
    const auto began = std::ranges::find(recorded, now.vdi, &journal::Fingerprint::vdi);
    if (began == recorded.end() || !began->identity.same_object(now.identity)) return false;
    return cursor == 0_B || now.identity.modified_ns > began->identity.modified_ns;
}

std::optional<std::string> changed_since(const Step& step, const std::vector<journal::Fingerprint>& sources,
                                         Bytes cursor, const SrTree& tree) {
    if (tree.find(*step.into) == nullptr) return "its target is gone";
    if (!images_unchanged(step, sources, cursor, tree)) return "an image has changed since the data was copied";
    if (!links_expected(step, tree)) return "other images have taken their places since";
    return std::nullopt;
}

} // namespace coppice
