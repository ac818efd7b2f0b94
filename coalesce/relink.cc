#include "coalesce/relink.h"

#include "coalesce/edit_log.h"
#include "format/base/error.h"
#include "format/base/log.h"

#include <algorithm>

namespace coppice {
namespace {

void make_durable(MergeContext& context, Image& image, const HeaderEdit& edit) {
    JournalEditLog log{context.storage, context.journal};
    apply_logged(image.device(), edit, log);
}

std::string file_name(const std::string& uuid, Format format) {
    return uuid + std::string{extension(format)};
}

} // namespace

void relink(MergeContext& context, ClaimedImage& child, const std::optional<NewParent>& parent) {
    make_durable(context, child.image(), child.image().relinked(parent));
    log::info("coalesce", "relinked vdi=" + child.node().uuid + " parent=" + (parent ? parent->name : "none"));
}

void set_hidden(MergeContext& context, ClaimedImage& image, bool hidden) {
    if (image.image().hidden() != hidden) make_durable(context, image.image(), image.image().with_hidden(hidden));
}

void remove_emptied(MergeContext& context, const std::vector<std::string>& uuids) {
    const SrTree tree = context.trees.current(); // what was true when the plan was made does not count here
    for (auto uuid_place = uuids.begin(); uuid_place != uuids.end(); ++uuid_place) {
        const std::string& uuid = *uuid_place;
        const TreeNode* node = tree.find(uuid);
        if (node == nullptr) continue;
        if (!node->hidden) throw Refused{"siblings", uuid, "is visible: only hidden images are ever deleted"};
        for (const std::string& child : tree.children(uuid))
            if (std::find(uuids.begin(), uuid_place, child) == uuid_place)
                throw Refused{"siblings", uuid, "still has the child " + child};
        // Claimed, so that nobody opens it between the look at its users and its end.
        const ClaimedImage claimed{context, *node, Access::read_write};
        context.storage.remove(node->file);
        context.storage.sync();
        log::info("coalesce", "deleted vdi=" + uuid + " freed=" + std::to_string(node->physical_size.count()));
    }
}

void replace_leaf(MergeContext& context, const std::string& leaf, const std::string& merged) {
    const SrTree tree = context.trees.current();
    const TreeNode& leaf_node = require_node(tree, leaf);
    const TreeNode& merged_node = require_node(tree, merged);
    ClaimedImage old_leaf{context, leaf_node, Access::read_write};
    ClaimedImage survivor{context, merged_node, Access::read_write};
    const std::string entry = "leaf_" + leaf;
    const std::string old_name = "OLD_" + leaf_node.file;

    write_small_file(context.storage, entry, merged);
    set_hidden(context, survivor, false);
    context.storage.rename(leaf_node.file, old_name);
    context.storage.sync();
    context.storage.rename(merged_node.file, file_name(leaf, merged_node.format));
    context.storage.sync();
    // From here on the old leaf must never be used again: it is out of date with the first write of a guest.
    const auto set_aside = open_image(context.storage.open(old_name, Access::read_write), leaf_node.format);
    make_durable(context, *set_aside, set_aside->with_hidden(true));
    context.storage.remove(entry);
    context.storage.sync();
    context.storage.remove(old_name);
    context.storage.sync();
    log::info("coalesce", "leaf took over the merged image vdi=" + leaf + " was=" + merged);
}

} // namespace coppice
