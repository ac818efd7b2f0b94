#include "coalesce/relink.h"

#include "coalesce/edit_log.h"
#include "format/base/error.h"
#include "format/base/log.h"

#include <algorithm>
#include <span>

namespace coppice {
namespace {

void make_durable(MergeContext& context, Image& image, const HeaderEdit& edit) {
    JournalEditLog log{context.storage, context.journal};
    apply_logged(image.device(), edit, log);
}

std::string file_name(const std::string& uuid, Format format) {
    return uuid + std::string{extension(format)};
}

/// What somebody has done to the leaf since its data was read for the merge, or is about to do; nullopt: nothing. Only
/// when its name is gone nobody can begin anything new.
std::optional<std::string> disturbance(MergeContext& context, const ClaimedImage& leaf, const std::string& merged) {
    const FileIdentity now = leaf.image().device().identity();
    const auto openers = context.occupancy.openers({&now, 1}).front();
    if (!openers.empty())
        return "was opened by pid " + std::to_string(openers.front().pid) + " (" + openers.front().name +
               ") behind its merge";
    for (const journal::Operation& operation : context.journal.unfinished()) {
        if (operation.vdi != leaf.node().uuid || operation.into != merged) continue;
        for (const journal::Fingerprint& read : operation.sources)
            if (read.vdi == leaf.node().uuid && read.identity != now) return "was changed behind its merge";
    }
    return std::nullopt;
}

} // namespace

void relink(MergeContext& context, ClaimedImage& child, std::optional<NewParent> parent) {
    if (parent) parent->name = context.storage.parent_name(parent->name, child.node().file);
    make_durable(context, child.image(), child.image().relinked(parent));
    log::info("coalesce", "relinked vdi=" + child.node().uuid + " parent=" + (parent ? parent->name : "none"));
}

void set_hidden(MergeContext& context, ClaimedImage& image, bool hidden) {
    const std::string& file = image.node().file;
    if (image.image().format() == Format::raw && context.storage.is_marked_hidden(file) != hidden)
        context.storage.mark_hidden(file, hidden);
    else if (image.image().hidden() != hidden)
        make_durable(context, image.image(), image.image().with_hidden(hidden));
}

namespace {

/// Throws Refused where `node` is not to be deleted, `gone` being what goes before it.
void require_unneeded(const SrTree& tree, const TreeNode& node, std::span<const std::string> gone) {
    if (!node.hidden) throw Refused{"siblings", node.uuid, "is visible: only hidden images are ever deleted"};
    for (const std::string& child : tree.children(node.uuid))
        if (std::ranges::find(gone, child) == gone.end())
            throw Refused{"siblings", node.uuid, "still has the child " + child};
}

/// False when nothing is left. Nobody has to be kept out: what somebody has open in that moment cannot be removed.
bool remove_closed(MergeContext& context, const LockedSr& sr, const std::vector<std::string>& uuids) {
    require_closed(context, sr.tree(), {uuids.begin(), uuids.end()});
    for (const std::string& uuid : uuids) {
        const TreeNode& node = require_node(sr.tree(), uuid);
        context.storage.remove(node.file);
        context.storage.sync();
        log::info("coalesce", "deleted vdi=" + node.uuid + " freed=" + std::to_string(node.physical_size.count()));
        if (sr.time_is_up()) return true;
    }
    return false;
}

/// False when nothing is left. `removed` stay open, not claimed, so that their space is freed when others may enter the
/// SR again: for a large file that takes its time.
bool remove_some(MergeContext& context, const std::vector<std::string>& uuids,
                 std::vector<std::unique_ptr<ClaimedImage>>& removed) {
    // What was true when the plan was made does not count here.
    const LockedSr sr{context, [](const SrTree&) { return std::set<std::string>{}; }};
    std::vector<std::string> left;
    for (std::size_t i = 0; i < uuids.size(); ++i)
        if (sr.tree().find(uuids[i]) != nullptr) {
            require_unneeded(sr.tree(), require_node(sr.tree(), uuids[i]), // what cannot be read has no flags
                             std::span{uuids}.first(i));
            left.push_back(uuids[i]);
        }
    if (!context.storage.removes_open_objects()) return remove_closed(context, sr, left);
    // Claimed, so that nobody opens them between the look at their users and their end.
    removed = claim_all(context, sr.tree(), left);
    bool more = false;
    for (auto& image : removed) {
        const TreeNode node = image->node();
        remove_image(context, image);
        log::info("coalesce", "deleted vdi=" + node.uuid + " freed=" + std::to_string(node.physical_size.count()));
        more = sr.time_is_up();
        if (more) break;
    }
    let_go(removed);
    return more;
}

} // namespace

void remove_emptied(MergeContext& context, const std::vector<std::string>& uuids) {
    for (bool more = true; more;) {
        std::vector<std::unique_ptr<ClaimedImage>> removed;
        more = remove_some(context, uuids, removed);
    }
}

namespace {

void hide(MergeContext& context, const std::string& file, Format format) {
    if (format == Format::raw) return context.storage.mark_hidden(file, true);
    const auto image = open_image(context.storage.open(file, Access::read_write), format);
    make_durable(context, *image, image->with_hidden(true));
}

} // namespace

std::vector<std::unique_ptr<ClaimedImage>> replace_leaf(MergeContext& context, const LockedSr& sr,
                                                        const std::string& leaf, const std::string& merged) {
    const SrTree& tree = sr.tree();
    const TreeNode& leaf_node = require_node(tree, leaf);
    const TreeNode& merged_node = require_node(tree, merged);
    auto both = claim_all(context, tree, {leaf, merged});
    ClaimedImage& survivor = *both.back();
    const std::string entry = "leaf_" + leaf;
    const std::string old_name = "OLD_" + leaf_node.file;

    write_small_file(context.storage, entry, merged);
    set_hidden(context, survivor, false);
    context.storage.rename(leaf_node.file, old_name);
    context.storage.sync();
    if (const auto why = disturbance(context, *both.front(), merged)) {
        context.storage.rename(old_name, leaf_node.file);
        context.storage.sync();
        hide(context, merged_node.file, merged_node.format);
        context.storage.remove(entry);
        context.storage.sync();
        throw Refused{"attached", leaf, *why};
    }
    context.storage.rename(merged_node.file, file_name(leaf, merged_node.format));
    context.storage.sync();
    // From here on the old leaf must never be used again: it is out of date with the first write of a guest.
    hide(context, old_name, leaf_node.format);
    context.storage.remove(entry);
    context.storage.sync();
    if (context.storage.removes_open_objects()) {
        context.storage.remove(old_name);
        context.storage.sync();
    }
    log::info("coalesce", "leaf took over the merged image vdi=" + leaf + " was=" + merged);
    // Whoever waits for the disk opens it as soon as the passage ends.
    let_go(both);
    return both;
}

void remove_set_aside(MergeContext& context, const std::string& leaf) {
    const LockedSr sr{context, [](const SrTree&) { return std::set<std::string>{}; }};
    const TreeNode* old = sr.tree().find("OLD_" + leaf);
    if (old == nullptr || !old->hidden || !sr.tree().children(old->uuid).empty()) return; // replay looks at it again
    require_closed(context, sr.tree(), {old->uuid});
    context.storage.remove(old->file);
    context.storage.sync();
}

} // namespace coppice
