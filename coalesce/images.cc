#include "coalesce/images.h"

#include "format/base/error.h"

namespace coppice {

Refused held_open(const std::string& image, const Opener& opener) {
    return {"attached", image, "held open by pid " + std::to_string(opener.pid) + " (" + opener.name + ")"};
}

void require_unused(MergeContext& context, const std::vector<const Image*>& images) {
    std::vector<FileIdentity> identities;
    for (const Image* image : images)
        identities.push_back(image->device().identity());
    const auto openers = context.occupancy.openers(identities);
    for (std::size_t i = 0; i < images.size(); ++i)
        if (!openers[i].empty()) throw held_open(images[i]->name(), openers[i].front());
}

std::unique_ptr<Image> open_held(MergeContext& context, const TreeNode& node, Access access) {
    context.storage.hold(node.file);
    return open_image(context.storage.open(node.file, access), node.format);
}

void hold_all(MergeContext& context, const SrTree& tree, const std::set<std::string>& uuids) {
    for (const std::string& uuid : uuids)
        if (const TreeNode* node = tree.find(uuid); node != nullptr && node->state == NodeState::ok)
            context.storage.hold(node->file);
}

void unseal_all(MergeContext& context, const SrTree& tree, const std::set<std::string>& uuids) {
    for (const std::string& uuid : uuids)
        if (const TreeNode* node = tree.find(uuid); node != nullptr && node->state == NodeState::ok)
            context.storage.unseal(node->file);
}

SrTree trees_holding(MergeContext& context, const std::set<std::string>& uuids) {
    SrTree tree = context.trees.current();
    if (!context.storage.has_sizes()) return tree;
    // Also what is not ok: the leaf that sm has set aside is going to be looked at all the same.
    for (const std::string& uuid : uuids)
        if (const TreeNode* node = tree.find(uuid)) context.storage.hold(node->file);
    return context.trees.current();
}

void let_go(const std::vector<std::unique_ptr<ClaimedImage>>& images) {
    for (const auto& image : images)
        if (image) image->let_go();
}

void remove_image(MergeContext& context, std::unique_ptr<ClaimedImage>& image) {
    const std::string file = image->node().file;
    if (!context.storage.removes_open_objects()) image.reset();
    context.storage.remove(file);
    context.storage.sync();
}

OpenedImage::OpenedImage(MergeContext& context, const TreeNode& node, Access access)
    : node_{node}, image_{open_held(context, node, access)} {}

ClaimedImage::ClaimedImage(MergeContext& context, const TreeNode& node, Access access, Users users)
    : OpenedImage{context, node, access} {
    claim_ = context.occupancy.claim(image().device(), access == Access::read_write ? Occupancy::Purpose::write
                                                                                    : Occupancy::Purpose::read);
    if (users == Users::asked_for_elsewhere) return;
    // After the claim: whoever comes later is kept out by it, whoever was there before is seen here.
    require_unused(context, {&image()});
}

std::unique_ptr<Image> OpenedImage::reopened(MergeContext& context) const {
    return open_image(context.storage.open(node_.file, Access::read_only), node_.format);
}

const TreeNode& require_node(const SrTree& tree, const std::string& uuid) {
    const TreeNode* node = tree.find(uuid);
    if (node == nullptr) throw NotFound{uuid, "it was there when the plan was made"};
    if (node->state != NodeState::ok) throw Refused{node->reason, uuid, node->text};
    return *node;
}

std::vector<std::unique_ptr<Image>> open_ancestors(MergeContext& context, const SrTree& tree, const std::string& uuid) {
    std::vector<std::unique_ptr<Image>> images;
    for (auto parent = require_node(tree, uuid).parent; parent;) {
        const TreeNode& node = require_node(tree, *parent);
        images.push_back(open_held(context, node, Access::read_only));
        if (images.size() > tree.nodes.size()) throw Refused{"chain-cycle", uuid, "its ancestors form a cycle"};
        parent = node.parent;
    }
    return images;
}

NewParent as_parent(const TreeNode& parent, const Image& image) {
    return {parent.file, parent.format, image.vhd_uuid(), image.device().identity().modified_ns / 1'000'000'000};
}

} // namespace coppice
