#include "gc/sm/sm_replay.h"

#include "coalesce/merge_context.h"
#include "format/base/error.h"
#include "format/base/uuid.h"
#include "format/image.h"
#include "gc/sm/replay_steps.h"
#include "gc/sm/sm_entries.h"
#include "gc/sm/sm_evidence.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace coppice {
namespace {

constexpr std::string_view set_aside_prefix = "OLD_";

bool is_operation(const SmEntry& entry) {
    return entry.type == SmEntryType::relink || entry.type == SmEntryType::leaf || entry.type == SmEntryType::clone ||
           entry.type == SmEntryType::zero;
}

std::string_view name_of(const ReplayAction& action) {
    if (is_of_snapshot(action)) return "snapshot";
    return action.kind == ReplayAction::Kind::finish_growth ? "growth" : "merge";
}

/// The parts between underscores that are not empty.
std::vector<std::string> split(std::string_view value) {
    std::vector<std::string> result;
    while (!value.empty()) {
        const auto end = std::min(value.find('_'), value.size());
        if (end > 0) result.emplace_back(value.substr(0, end));
        value.remove_prefix(std::min(end + 1, value.size()));
    }
    return result;
}

class Planner {
public:
    Planner(Storage& storage, const SrTree& tree, Snapshots snapshots)
        : storage_{storage}, tree_{tree}, snapshots_{snapshots} {}

    ReplayPlan plan() {
        const std::vector<SmEntry> entries = list_sm_entries(storage_);
        find_conflicts(entries);
        for (const SmEntry& entry : entries)
            plan_entry(entry);
        for (const TreeNode& node : tree_.nodes)
            if (node.uuid.starts_with(set_aside_prefix)) plan_set_aside(node);
        drop_frozen_actions();
        return std::move(plan_);
    }

private:
    using Kind = ReplayAction::Kind;

    void act(Kind kind, const SmEntry& entry, const std::string& other, const std::string& text) {
        plan_.actions.push_back({kind, entry.vdi, other, entry.file, text});
    }
    void freeze(const std::string& vdi, const std::string& text) { plan_.frozen.emplace(vdi, text); }

    /// The images whose names, links or flags replaying `entry` may change.
    std::set<std::string> involved(const SmEntry& entry) const {
        std::set<std::string> result{entry.vdi};
        if (entry.type == SmEntryType::leaf) {
            result.insert(set_aside_name(entry.vdi));
            if (is_uuid(entry.value)) result.insert(entry.value);
            return result;
        }
        if (entry.type == SmEntryType::clone) {
            for (const std::string& uuid : split(entry.value))
                result.insert(uuid);
            return result;
        }
        for (const std::string& child : tree_.children(entry.vdi))
            result.insert(child);
        if (const TreeNode* node = tree_.find(entry.vdi); node != nullptr && node->parent) result.insert(*node->parent);
        return result;
    }

    /// Nobody leaves two unfinished operations on one image: where there are, no order of replaying them is right.
    void find_conflicts(const std::vector<SmEntry>& entries) {
        std::map<std::string, const SmEntry*> first;
        for (const SmEntry& entry : entries) {
            if (!is_operation(entry)) continue;
            for (const std::string& vdi : involved(entry)) {
                const auto [place, fresh] = first.emplace(vdi, &entry);
                if (fresh || tree_.find(vdi) == nullptr) continue;
                conflicts_.emplace(entry.file, place->second->file);
                conflicts_.emplace(place->second->file, entry.file);
            }
        }
    }

    void plan_entry(const SmEntry& entry) {
        if (entry.type == SmEntryType::leaf) handled_.insert(entry.vdi);
        if (const auto other = conflicts_.find(entry.file); other != conflicts_.end())
            return freeze_involved(entry, entry.file + " and " + other->second +
                                              " tell of unfinished operations on the same image; one of the two "
                                              "has to be removed by hand");
        if (!entry.trouble.empty() && entry.type != SmEntryType::coalesce)
            return freeze_involved(entry, entry.file + " cannot be read: " + entry.trouble);
        switch (entry.type) {
        case SmEntryType::coalesce:
            // Pouring again is harmless, and where it stopped our own journal knows better.
            return act(Kind::remove_entry, entry, "", "a merge was cut short");
        case SmEntryType::relink:
            return plan_relink(entry);
        case SmEntryType::leaf:
            return plan_leaf(entry);
        case SmEntryType::clone:
            return plan_snapshot(entry);
        case SmEntryType::zero:
            return plan_growth(entry);
        }
    }

    void freeze_involved(const SmEntry& entry, const std::string& text) {
        for (const std::string& vdi : involved(entry))
            freeze(vdi, text);
    }

    /// The node, if it can be worked with. A missing parent does not matter here: names are what is being repaired.
    const TreeNode* usable(const std::string& uuid) const {
        const TreeNode* node = tree_.find(uuid);
        if (node == nullptr || node->state == NodeState::ok || node->reason == "parent-missing") return node;
        return nullptr;
    }

    /// Whether an image that cannot be read may depend on `uuid`, which then must not be deleted.
    bool in_doubt(const std::string& uuid) const {
        return !tree_.complete || std::ranges::any_of(tree_.nodes, [&](const TreeNode& node) {
            return std::ranges::find(node.suspected_parents, uuid) != node.suspected_parents.end();
        });
    }

    /// Whether an image besides `known` depends on `node`, or may do so.
    bool others_may_need(const TreeNode& node, const std::set<std::string>& known) const {
        return std::ranges::any_of(tree_.nodes, [&](const TreeNode& other) {
            if (known.contains(other.uuid)) return false;
            return other.parent == node.uuid ||
                   std::ranges::find(other.suspected_parents, node.uuid) != other.suspected_parents.end();
        });
    }

    void plan_relink(const SmEntry& entry) {
        const TreeNode* merged = tree_.find(entry.vdi);
        if (merged == nullptr) return act(Kind::remove_entry, entry, "", "the merged VDI is gone");
        const std::string found = entry.file + " says that its children have to be relinked to its parent, but ";
        const TreeNode* parent = merged->parent ? tree_.find(*merged->parent) : nullptr;
        if (merged->state != NodeState::ok) return freeze_involved(entry, found + "it cannot be used: " + merged->text);
        if (parent == nullptr) return freeze_involved(entry, found + "it has no parent");
        for (std::optional<std::string> at = merged->parent; at; at = tree_.find(*at)->parent)
            if (tree_.find(*at)->state != NodeState::ok)
                return freeze_involved(entry, found + *at + " below it cannot be used: " + tree_.find(*at)->text);
        if (in_doubt(entry.vdi)) return freeze_involved(entry, found + "an image that cannot be read may depend on it");
        if (!merged->hidden) return act(Kind::remove_entry, entry, "", "the VDI is visible, so it is not deleted");
        act(Kind::finish_relink, entry, parent->uuid, "it was merged into its parent");
    }

    void plan_leaf(const SmEntry& entry) {
        const TreeNode* leaf = tree_.find(entry.vdi);
        const TreeNode* old = tree_.find(set_aside_name(entry.vdi));
        if (!is_uuid(entry.value) || entry.value == entry.vdi) return plan_leaf_without_value(entry);
        const TreeNode* parent = tree_.find(entry.value);
        for (const TreeNode* node : {leaf, old, parent})
            if (node != nullptr && usable(node->uuid) == nullptr)
                return freeze_leaf(entry, node->uuid + " cannot be used: " + node->text);
        if (old != nullptr && (!tree_.children(old->uuid).empty() || in_doubt(old->uuid)))
            return freeze_leaf(entry, "something may depend on " + old->uuid);
        if (parent != nullptr && (leaf != nullptr) != (old != nullptr)) {
            if (!stands_on(leaf != nullptr ? *leaf : *old, entry.value))
                return freeze_leaf(entry, (leaf != nullptr ? leaf : old)->uuid + " does not stand on " + entry.value);
            return act(Kind::undo_leaf, entry, entry.value, "its names were not exchanged completely");
        }
        if (leaf != nullptr && parent == nullptr && leaf->state != NodeState::ok)
            return freeze_leaf(entry, leaf->uuid + " cannot be used: " + leaf->text);
        if (leaf != nullptr && parent == nullptr && old == nullptr)
            return act(Kind::finish_leaf, entry, entry.value, "only the entry was left");
        if (leaf != nullptr && parent == nullptr) {
            if (!records_parent(*old, entry.value))
                return freeze_leaf(entry, old->uuid + " was not made on " + entry.value);
            return act(Kind::settle_exchange, entry, entry.value, "its names had been exchanged");
        }
        freeze_leaf(entry, leaf == nullptr ? "neither the leaf nor the one set aside is there, or not the parent"
                                           : "the leaf, the one set aside and the parent are there all at once");
    }

    /// A power cut can leave an entry whose value was never written. The names tell whether anything had begun.
    void plan_leaf_without_value(const SmEntry& entry) {
        const bool untouched = tree_.find(entry.vdi) != nullptr && tree_.find(set_aside_name(entry.vdi)) == nullptr;
        if (entry.value.empty() && untouched)
            return act(Kind::remove_entry, entry, "", "it names no parent, and no name had been exchanged");
        freeze_leaf(entry, "its entry does not name a parent");
    }

    /// Whether `uuid` is among the ancestors: a snapshot may have come in between.
    bool stands_on(const TreeNode& node, const std::string& uuid) const {
        const TreeNode* at = &node;
        for (std::size_t steps = 0; at != nullptr && at->parent && steps <= tree_.nodes.size(); ++steps) {
            if (*at->parent == uuid) return true;
            at = tree_.find(*at->parent);
        }
        return false;
    }

    bool records_parent(const TreeNode& node, const std::string& uuid) const {
        try {
            return names_parent(storage_, *open_image(storage_.open(node.file, Access::read_only), node.format), uuid);
        } catch (const std::exception&) { // what cannot be read proves nothing
            return false;
        }
    }

    void freeze_leaf(const SmEntry& entry, const std::string& why) {
        freeze_involved(entry, entry.file + " tells of an interrupted merge of leaf " + entry.vdi + ", and it can " +
                                   "neither be finished nor undone: " + why);
    }

    /// Its value is the size that the image had before.
    void plan_growth(const SmEntry& entry) {
        const TreeNode* node = tree_.find(entry.vdi);
        if (node == nullptr) return act(Kind::remove_entry, entry, "", "its VDI is gone");
        const std::string found = entry.file + " tells of an unfinished growth by sm, ";
        if (!storage_.has_sizes()) return freeze(entry.vdi, found + "which sm has to finish");
        std::uint64_t from = 0;
        const char* const end = entry.value.data() + entry.value.size();
        const auto read = std::from_chars(entry.value.data(), end, from);
        if (read.ec != std::errc{} || read.ptr != end || Bytes{from} > node->virtual_size)
            return freeze(entry.vdi, found + "and its value is no size of it: " + entry.value);
        if (node->format != Format::raw || !node->hidden || node->state != NodeState::ok)
            return freeze(entry.vdi, found + "of what is not a hidden raw image");
        plan_.actions.push_back(
            {Kind::finish_growth, entry.vdi, "", entry.file, "its new part was not cleared", "", Bytes{from}});
    }

    /// Its value is "<base>_<copy>"; without a copy the part behind the line is empty.
    void plan_snapshot(const SmEntry& entry) {
        const auto names = split(entry.value);
        const std::string found = entry.file + " tells of an unfinished snapshot by sm, ";
        // File SRs do not know this operation: whoever wrote that has to finish it.
        if (snapshots_ == Snapshots::left_to_sm || !storage_.has_sizes())
            return freeze_involved(entry, found + "which sm has to finish");
        if (names.empty() || names.size() > 2 || !std::ranges::all_of(names, is_uuid))
            return freeze_involved(entry, found + "and its value names no base: " + entry.value);
        const std::string copy_name = names.size() > 1 ? names[1] : "";
        const TreeNode* disk = tree_.find(entry.vdi);
        const TreeNode* base = tree_.find(names[0]);
        const TreeNode* copy = tree_.find(copy_name);
        if (base == nullptr && copy != nullptr)
            return freeze_involved(entry, found + "and the base of the snapshot " + copy->uuid + " is missing");
        if (base == nullptr)
            return act(Kind::remove_entry, entry, "", disk != nullptr ? "nothing was renamed yet" : "the disk is gone");
        if (base->state != NodeState::ok)
            return freeze_involved(entry, found + "and " + base->uuid + " cannot be used: " + base->text);
        const auto stands = [&](const TreeNode* child) {
            return child != nullptr && child->state == NodeState::ok && child->parent == base->uuid;
        };
        const bool whole = stands(disk) && (copy_name.empty() || stands(copy));
        // Undone, the base is a disk that its guest writes to.
        if (!whole && others_may_need(*base, {entry.vdi, copy_name}))
            return freeze_involved(entry, found + "and it cannot be undone: another image may depend on " + base->uuid);
        if (whole)
            plan_.actions.push_back(
                {Kind::finish_snapshot, entry.vdi, base->uuid, entry.file, "all of it is there", copy_name});
        else
            plan_.actions.push_back(
                {Kind::undo_snapshot, entry.vdi, base->uuid, entry.file, "not all of it was made", copy_name});
    }

    /// A leaf that was set aside, without an entry: the last thing that a merge deletes.
    void plan_set_aside(const TreeNode& old) {
        const std::string leaf = old.uuid.substr(set_aside_prefix.size());
        if (handled_.contains(leaf)) return;
        const TreeNode* holder = tree_.find(leaf);
        const std::string why = why_needed(old, holder);
        if (why.empty()) {
            plan_.actions.push_back({Kind::drop_set_aside, leaf, "", "", "only the leaf set aside was left"});
            return;
        }
        const std::string text =
            "a merge set " + old.uuid + " aside and left no entry, and it may still be needed: " + why;
        freeze(old.uuid, text);
        freeze(leaf, text);
        if (old.parent) freeze(*old.parent, text);
    }

    std::string why_needed(const TreeNode& old, const TreeNode* holder) const {
        if (holder == nullptr) return "the leaf itself is missing";
        if (holder->state != NodeState::ok) return holder->uuid + " cannot be used: " + holder->text;
        if (usable(old.uuid) == nullptr) return "it cannot be used: " + old.text;
        if (old.parent) return "its parent is still there";
        if (old.state == NodeState::ok) return "it never had a parent";
        if (!tree_.children(old.uuid).empty() || in_doubt(old.uuid)) return "something may depend on it";
        return {};
    }

    /// An action that would change what another finding wants left alone waits, too.
    void drop_frozen_actions() {
        std::erase_if(plan_.actions, [&](const ReplayAction& action) {
            if (action.kind == Kind::remove_entry) return false;
            for (const std::string& vdi : images_of(action)) {
                const auto found = plan_.frozen.find(vdi);
                if (found == plan_.frozen.end()) continue;
                const std::string text = found->second;
                for (const std::string& other : images_of(action))
                    freeze(other, text);
                return true;
            }
            return false;
        });
    }

    Storage& storage_;
    const SrTree& tree_;
    Snapshots snapshots_;
    ReplayPlan plan_;
    std::map<std::string, std::string> conflicts_; ///< entry to another one on the same image
    std::set<std::string> handled_;                ///< leaves that an entry speaks of
};

} // namespace

ReplayPlan plan_replay(Storage& storage, const SrTree& tree, Snapshots snapshots) {
    return Planner{storage, tree, snapshots}.plan();
}

std::map<std::string, std::string> pending_vdis(const ReplayPlan& plan) {
    std::map<std::string, std::string> pending;
    for (const ReplayAction& action : plan.actions) {
        if (action.kind == ReplayAction::Kind::remove_entry) continue;
        const std::string what = action.entry.empty() ? set_aside_name(action.vdi) : action.entry;
        const std::string text = "an interrupted " + std::string{name_of(action)} +
                                 " of sm is completed or undone first (" + what + "): " + action.text;
        for (const std::string& vdi : images_of(action))
            pending.emplace(vdi, text);
    }
    return pending;
}

std::string set_aside_name(const std::string& vdi) {
    return std::string{set_aside_prefix} + vdi;
}

} // namespace coppice
