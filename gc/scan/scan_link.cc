#include "gc/scan/scan_link.h"

#include <algorithm>
#include <tuple>

namespace coppice {
namespace {

std::string quoted(const std::string& name) {
    return "\"" + name + "\"";
}

/// What the names recorded in one child lead to.
struct Resolved {
    const ScannedImage* parent = nullptr;
    std::optional<std::string> leads_out;  ///< a name tried before the parent was found that means a place outside
    std::optional<std::string> not_listed; ///< a file of the SR that is no image of the listing
};

class Linker {
public:
    Linker(const Storage& storage, std::vector<ScannedImage>& images, const ScanOptions& options)
        : storage_{storage}, images_{images}, options_{options} {
        for (const ScannedImage& image : images_) {
            by_file_[image.node.file] = &image;
            uuids_.insert(image.node.uuid);
        }
    }

    Linked link() {
        merge_duplicates();
        for (ScannedImage& image : images_)
            if (image.parent && !duplicate(image)) link_to_parent(image);
        for (ScannedImage& image : images_)
            result_.tree.nodes.push_back(image.node);
        std::ranges::sort(result_.tree.nodes, {}, [](const TreeNode& node) { return std::tie(node.uuid, node.file); });
        drop_second_of_pairs();
        mark_cycles();
        suspect_parents();
        for (const ScannedImage& image : images_)
            if (image.data_file) quarantine_data_file(image.node.uuid, *image.data_file);
        return std::move(result_);
    }

private:
    bool duplicate(const ScannedImage& image) const { return duplicates_.contains(image.node.uuid); }

    Resolved resolve(const ParentReference& reference) const {
        Resolved resolved;
        for (const std::string& name : reference.names) {
            const auto inside = options_.inside_sr(name);
            if (!inside) {
                if (!resolved.leads_out) resolved.leads_out = name;
                continue;
            }
            if (const auto place = by_file_.find(*inside); place != by_file_.end()) {
                resolved.parent = place->second;
                return resolved;
            }
            if (!resolved.not_listed && storage_.exists(*inside)) resolved.not_listed = *inside;
        }
        return resolved;
    }

    void link_to_parent(ScannedImage& child) {
        const Resolved resolved = resolve(*child.parent);
        TreeNode& node = child.node;
        if (resolved.parent != nullptr) {
            node.parent = resolved.parent->node.uuid;
            if (resolved.leads_out)
                mark(node, NodeState::damaged, "image-damaged",
                     "names " + quoted(*resolved.leads_out) + " as its parent, which leads out of the SR, before " +
                         quoted(resolved.parent->node.file));
            check_parent(child, *resolved.parent);
            return;
        }
        const std::string& first = child.parent->names.front();
        unresolved_[node.uuid] = resolved.not_listed.has_value();
        suspect_mentioned(child);
        if (resolved.not_listed && node_of_file(*resolved.not_listed)) result_.unsteady = true;
        if (resolved.not_listed)
            mark(node, NodeState::damaged, "parent-missing",
                 "its parent " + quoted(*resolved.not_listed) + " is not named as an image of an SR");
        else if (resolved.leads_out)
            mark(node, NodeState::damaged, "image-damaged",
                 "names " + quoted(*resolved.leads_out) + " as its parent, which leads out of the SR");
        else
            mark(node, NodeState::damaged, "parent-missing", "its parent " + quoted(first) + " is not in the SR");
    }

    /// A name that leads nowhere may still mean an image that stands here: after a copy, or under another mount.
    void suspect_mentioned(ScannedImage& child) {
        std::set<std::string> suspects;
        for (const std::string& name : child.parent->names)
            suspects.merge(mentioned_uuids(std::as_bytes(std::span{name}), uuids_));
        suspects.erase(child.node.uuid);
        child.node.suspected_parents.assign(suspects.begin(), suspects.end());
    }

    void check_parent(ScannedImage& child, const ScannedImage& parent) {
        TreeNode& node = child.node;
        const ParentReference& reference = *child.parent;
        const Format actual = parent.node.format;
        if (reference.format && *reference.format != actual)
            mark(node, NodeState::damaged, "image-damaged",
                 "records a parent of format " + std::string{to_string(*reference.format)} + ", but its parent is " +
                     quoted(parent.node.file));
        if (node.format == Format::vhd && actual == Format::qcow2)
            mark(node, NodeState::damaged, "unsupported-feature",
                 "a VHD image cannot have a QCOW2 parent: " + quoted(parent.node.file));
        // An unreadable parent is quarantined for its own reason.
        if (reference.vhd_uuid && parent.node.state == NodeState::ok && parent.vhd_uuid != reference.vhd_uuid)
            mark(node, NodeState::damaged, "image-damaged",
                 "was made on a parent with UUID " + reference.vhd_uuid->text() + ", but " + quoted(parent.node.file) +
                     " has " + (parent.vhd_uuid ? parent.vhd_uuid->text() : std::string{"none"}));
    }

    /// Which of two files is the VDI cannot be told, so neither is touched, nor what either may depend on.
    void merge_duplicates() {
        std::map<std::string, std::vector<ScannedImage*>> by_uuid;
        for (ScannedImage& image : images_)
            by_uuid[image.node.uuid].push_back(&image);
        for (auto& [uuid, group] : by_uuid) {
            if (group.size() < 2) continue;
            duplicates_.insert(uuid);
            std::string names;
            for (const ScannedImage* image : group)
                names += (names.empty() ? "" : ", ") + quoted(image->node.file);
            std::set<std::string> suspects;
            for (ScannedImage* image : group) {
                if (image->parent) {
                    const Resolved resolved = resolve(*image->parent);
                    if (resolved.parent != nullptr) suspects.insert(resolved.parent->node.uuid);
                }
                if (image->salvaged) suspects.merge(std::set{image->salvaged->mentioned});
                if (image->node.state == NodeState::unknown ||
                    (image->salvaged && image->salvaged->may_have_parent && suspects.empty()))
                    result_.tree.complete = false;
            }
            suspects.erase(uuid);
            for (ScannedImage* image : group) {
                image->node.state = NodeState::damaged;
                image->node.reason = "image-unknown";
                image->node.text = "several files have this UUID: " + names;
                image->node.suspected_parents.assign(suspects.begin(), suspects.end());
            }
        }
    }

    void drop_second_of_pairs() {
        auto& nodes = result_.tree.nodes;
        const auto rest = std::ranges::unique(nodes, {}, &TreeNode::uuid);
        nodes.erase(rest.begin(), rest.end());
    }

    void mark_cycles() {
        // Every node has one parent, so a walk that comes back to a node of its own walk has found a whole cycle.
        std::map<std::string, std::size_t> walk_of;
        std::size_t walk = 0;
        for (const TreeNode& start : result_.tree.nodes) {
            ++walk;
            TreeNode* node = result_.tree.find(start.uuid);
            while (node != nullptr && !walk_of.contains(node->uuid)) {
                walk_of[node->uuid] = walk;
                node = node->parent ? result_.tree.find(*node->parent) : nullptr;
            }
            if (node == nullptr || walk_of[node->uuid] != walk) continue;
            const std::string first = node->uuid;
            std::string next;
            do {
                next = *node->parent;
                node->state = NodeState::damaged;
                node->reason = "chain-cycle";
                node->text = "its chain of parents leads back to itself, by way of " + next;
                // Cut, so that nobody who walks a tree walks for ever.
                node->parent.reset();
                node->suspected_parents.push_back(next);
                node = result_.tree.find(next);
            } while (next != first);
        }
    }

    /// Who may be the parent of what does not say so itself.
    void suspect_parents() {
        for (const ScannedImage& image : images_) {
            const auto unresolved = unresolved_.find(image.node.uuid);
            const bool named_in_vain = unresolved != unresolved_.end();
            if ((image.header_read && !named_in_vain) || duplicate(image)) continue;
            TreeNode& node = *result_.tree.find(image.node.uuid);
            std::set<std::string> suspects{node.suspected_parents.begin(), node.suspected_parents.end()};
            if (image.salvaged) suspects.merge(std::set{image.salvaged->mentioned});
            const bool remembered = add_remembered(node, suspects);
            // A link or a foreign name is there, and may lead to any image of the SR.
            const bool may_have_parent = named_in_vain ? unresolved->second
                                         : image.salvaged
                                             ? image.salvaged->may_have_parent
                                             : node.format != Format::raw && node.state == NodeState::unknown;
            if (may_have_parent && suspects.empty() && !remembered) result_.tree.complete = false;
            if (image.salvaged && image.salvaged->blank && suspects.empty() && !remembered)
                add_orphans(node.format, suspects);
            suspects.erase(node.uuid);
            node.suspected_parents.assign(suspects.begin(), suspects.end());
        }
    }

    /// An image with a data file is shown, and nothing is done near it. Neither may its data file change: where that is
    /// an image of the SR, a merge into it would.
    void quarantine_data_file(const std::string& uuid, const std::string& stored) {
        TreeNode& node = *result_.tree.find(uuid);
        const auto inside = options_.inside_sr(stored);
        std::set<std::string> suspects{node.suspected_parents.begin(), node.suspected_parents.end()};
        if (!inside) {
            mark(node, NodeState::damaged, "image-damaged",
                 "names " + quoted(stored) + " as its data file, which leads out of the SR");
            suspects.merge(mentioned_uuids(std::as_bytes(std::span{stored}), uuids_));
        } else {
            mark(node, NodeState::damaged, "unsupported-feature",
                 "its data stands in another file, " + quoted(*inside) +
                     (storage_.exists(*inside) ? "" : ", which is not in the SR"));
            if (const auto place = by_file_.find(*inside); place != by_file_.end())
                suspects.insert(place->second->node.uuid);
            if (is_link(*inside)) result_.tree.complete = false; // it may lead to any image
        }
        suspects.erase(uuid);
        node.suspected_parents.assign(suspects.begin(), suspects.end());
    }

    bool is_link(const std::string& name) const {
        const auto entries = storage_.list();
        const auto entry = std::ranges::find(entries, name, &StorageEntry::name);
        return entry != entries.end() && entry->kind == StorageEntry::Kind::symbolic_link;
    }

    /// What has no other child may have had the one that cannot be read any more.
    void add_orphans(Format format, std::set<std::string>& suspects) {
        if (!parents_) {
            parents_.emplace();
            for (const TreeNode& other : result_.tree.nodes)
                if (other.parent) parents_->insert(*other.parent);
        }
        for (const TreeNode& other : result_.tree.nodes)
            if (other.hidden && other.format == format && !parents_->contains(other.uuid)) suspects.insert(other.uuid);
    }

    /// True where what is remembered of the node is enough to know on what it may depend.
    bool add_remembered(const TreeNode& node, std::set<std::string>& suspects) {
        if (!options_.last_known) return false;
        auto known = options_.last_known(node.uuid);
        if (!known) return false;
        bool enough = !known->parent; // a root stays a root, but for what is new below it
        // A parent that is gone was merged into one of its own ancestors.
        for (std::set<std::string> seen; known && known->parent && seen.insert(*known->parent).second;) {
            if (result_.tree.find(*known->parent) != nullptr) {
                suspects.insert(*known->parent);
                enough = true;
                break;
            }
            known = options_.last_known(*known->parent);
        }
        // A snapshot slips a new base in between.
        for (const TreeNode& other : result_.tree.nodes)
            if (other.hidden && other.format == node.format && !is_remembered(other.uuid)) suspects.insert(other.uuid);
        return enough;
    }

    bool is_remembered(const std::string& uuid) {
        const auto place = remembered_.find(uuid);
        if (place != remembered_.end()) return place->second;
        return remembered_[uuid] = options_.last_known(uuid).has_value();
    }

    const Storage& storage_;
    std::vector<ScannedImage>& images_;
    const ScanOptions& options_;
    std::map<std::string, const ScannedImage*> by_file_;
    std::set<std::string> uuids_;
    std::set<std::string> duplicates_;
    std::map<std::string, bool> remembered_;
    std::map<std::string, bool> unresolved_; ///< whose parent is not in the listing; true: but something of its name is
    std::optional<std::set<std::string>> parents_; ///< all that somebody names
    Linked result_;
};

} // namespace

Linked link_images(const Storage& storage, std::vector<ScannedImage> images, const ScanOptions& options) {
    std::erase_if(images, [](const ScannedImage& image) { return image.vanished; });
    return Linker{storage, images, options}.link();
}

} // namespace coppice
