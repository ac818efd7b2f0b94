#include "coalesce/locked_sr.h"

#include "format/base/error.h"

#include <algorithm>

namespace coppice {
namespace {

// So often in a row may somebody make a snapshot just before we enter.
constexpr int attempts = 5;

/// `uuids` and all that reads through them.
std::set<std::string> with_readers(const SrTree& tree, const std::set<std::string>& uuids) {
    std::map<std::string, std::vector<std::string>> children;
    for (const TreeNode& node : tree.nodes)
        if (node.parent) children[*node.parent].push_back(node.uuid);
    std::set<std::string> found;
    std::vector<std::string> open{uuids.begin(), uuids.end()};
    while (!open.empty()) {
        const std::string uuid = std::move(open.back());
        open.pop_back();
        if (tree.find(uuid) == nullptr || !found.insert(uuid).second) continue;
        if (const auto place = children.find(uuid); place != children.end())
            open.insert(open.end(), place->second.begin(), place->second.end());
    }
    return found;
}

} // namespace

std::set<std::string> visible_readers(const SrTree& tree, const std::set<std::string>& uuids) {
    std::set<std::string> readers = with_readers(tree, uuids);
    std::erase_if(readers, [&](const std::string& uuid) { return tree.find(uuid)->hidden; });
    return readers;
}

LockedSr::LockedSr(MergeContext& context, const Concerned& concerned, Ready ready) {
    tree_ = context.trees.current();
    for (int attempt = 0; attempt < attempts; ++attempt) {
        const std::set<std::string> changed = concerned(tree_);
        ready == Ready::to_write ? unseal_all(context, tree_, changed) : hold_all(context, tree_, changed);
        const std::set<std::string> leaves = visible_readers(tree_, changed);
        passage_ = context.gate.enter(leaves, context.stop);
        since_ = std::chrono::steady_clock::now();
        tree_ = context.trees.current();
        if (std::ranges::includes(leaves, visible_readers(tree_, concerned(tree_)))) return;
        passage_.reset();
    }
    throw Busy{context.storage.name(), "sm-operation: somebody keeps making snapshots"};
}

std::vector<std::unique_ptr<ClaimedImage>> claim_all(MergeContext& context, const SrTree& tree,
                                                     const std::vector<std::string>& uuids) {
    std::vector<std::unique_ptr<ClaimedImage>> images;
    for (const std::string& uuid : uuids)
        images.push_back(std::make_unique<ClaimedImage>(context, require_node(tree, uuid), Access::read_write,
                                                        ClaimedImage::Users::asked_for_elsewhere));
    // After the claims: whoever comes later is kept out by them, whoever was there before is seen here.
    std::vector<const Image*> views;
    for (const auto& image : images)
        views.push_back(&image->image());
    require_unused(context, views);
    return images;
}

void require_closed(MergeContext& context, const SrTree& tree, const std::set<std::string>& uuids) {
    std::vector<const TreeNode*> nodes;
    std::vector<FileIdentity> identities;
    for (const std::string& uuid : with_readers(tree, uuids)) {
        nodes.push_back(tree.find(uuid));
        identities.push_back(nodes.back()->identity);
    }
    const auto openers = context.occupancy.openers(identities);
    for (std::size_t i = 0; i < nodes.size(); ++i)
        if (!openers[i].empty()) throw held_open(nodes[i]->file, openers[i].front());
}

} // namespace coppice
