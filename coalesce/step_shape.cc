#include "coalesce/step_shape.h"

#include "coalesce/images.h"
#include "format/base/error.h"

#include <string>
#include <vector>

namespace coppice {

void require_shape(const Step& step, const SrTree& tree) {
    const bool down = step.direction == Direction::down;
    std::vector<std::string> path = step.emptied; // newest first
    path.insert(down ? path.end() : path.begin(), *step.into);
    for (std::size_t i = 0; i + 1 < path.size(); ++i) {
        const TreeNode& child = require_node(tree, path[i]);
        const TreeNode& parent = require_node(tree, path[i + 1]);
        if (child.parent != parent.uuid)
            throw Refused{"siblings", child.uuid, "its parent is no longer " + parent.uuid};
        if (!parent.hidden) throw Refused{"parent-visible", parent.uuid, "is visible: its content is somebody's disk"};
        if (tree.children(parent.uuid).size() != 1) throw Refused{"siblings", parent.uuid, "has got another child"};
    }
    const TreeNode& newest = require_node(tree, path.front());
    const bool leaf_poured = down && step.kind == StepKind::leaf_coalesce;
    if (down && !leaf_poured && !newest.hidden) throw Refused{"siblings", newest.uuid, "is visible now"};
    if (leaf_poured && (newest.hidden || !tree.children(newest.uuid).empty()))
        throw Refused{"siblings", newest.uuid, "is no longer a visible leaf"};
    // A disk never changes its size under a guest: a leaf that is smaller than what it is poured into would grow.
    if (leaf_poured && require_node(tree, *step.into).virtual_size > newest.virtual_size)
        throw Refused{"virtual-size", newest.uuid, "is smaller than " + *step.into};
}

const std::string& announced_image(const Step& step) {
    return step.kind == StepKind::leaf_coalesce && step.direction == Direction::down ? *step.into : step.vdi;
}

} // namespace coppice
