#include "gc/sm_replay.h"

#include "coalesce/verify.h"
#include "format/base/error.h"
#include "format/chain.h"
#include "gc/sm_entries.h"

#include <set>

namespace coppice {
namespace {

constexpr std::string_view set_aside_prefix = "OLD_";

std::string set_aside(const std::string& leaf) {
    return std::string{set_aside_prefix} + leaf;
}

class Planner {
public:
    Planner(Storage& storage, const SrTree& tree) : storage_{storage}, tree_{tree} {}

    ReplayPlan plan() {
        for (const SmEntry& entry : list_sm_entries(storage_)) {
            switch (entry.type) {
            case SmEntryType::coalesce:
                // Pouring again is harmless, and where it stopped our own journal knows better.
                act(ReplayAction::Kind::remove_entry, entry, "", "a merge was cut short");
                break;
            case SmEntryType::relink:
                plan_relink(entry);
                break;
            case SmEntryType::leaf:
                plan_leaf(entry);
                break;
            case SmEntryType::clone:
            case SmEntryType::zero:
                plan_foreign(entry);
                break;
            }
        }
        for (const TreeNode& node : tree_.nodes)
            if (node.uuid.starts_with(set_aside_prefix)) plan_set_aside(node);
        return std::move(plan_);
    }

private:
    void act(ReplayAction::Kind kind, const SmEntry& entry, const std::string& other, const std::string& text) {
        plan_.actions.push_back({kind, entry.vdi, other, entry.file, text});
    }
    void freeze(const std::string& vdi, const std::string& text) { plan_.frozen.emplace(vdi, text); }

    /// The node, if it can be worked with. A missing parent does not matter here: names are what is being repaired.
    const TreeNode* usable(const std::string& uuid) const {
        const TreeNode* node = tree_.find(uuid);
        if (node == nullptr || node->state == NodeState::ok || node->reason == "parent-missing") return node;
        return nullptr;
    }

    std::unique_ptr<Image> open(const TreeNode& node) const {
        return open_image(storage_.open(node.file, Access::read_only), node.format);
    }

    /// Whether `holder` maps everything that `source` maps, so that `source` is not needed any more.
    bool holds(const TreeNode& holder, const TreeNode& source) const {
        if (holder.state != NodeState::ok) return false;
        const auto target = open(holder);
        const auto poured = open(source);
        if (target->virtual_size() < poured->virtual_size()) return false;
        std::vector<std::unique_ptr<Image>> ancestors;
        std::vector<const Image*> views;
        for (auto parent = holder.parent; parent;) {
            const TreeNode* node = tree_.find(*parent);
            if (node == nullptr || node->state != NodeState::ok || ancestors.size() > tree_.nodes.size()) return false;
            views.push_back(ancestors.emplace_back(open(*node)).get());
            parent = node->parent;
        }
        const ChainView beneath{views};
        const MergePass pass{
            {poured.get()}, *target, {beneath, beneath}, poured->virtual_size(), MergePass::Rank::newer};
        return !first_missing(pass, *target, {});
    }

    void plan_relink(const SmEntry& entry) {
        const TreeNode* merged = tree_.find(entry.vdi);
        if (merged == nullptr) return act(ReplayAction::Kind::remove_entry, entry, "", "the merged VDI is gone");
        const TreeNode* parent = merged->parent ? tree_.find(*merged->parent) : nullptr;
        if (merged->state != NodeState::ok || parent == nullptr || parent->state != NodeState::ok)
            return freeze(entry.vdi, "it was to be relinked, but it or its parent cannot be used");
        if (merged->hidden && holds(*parent, *merged))
            return act(ReplayAction::Kind::finish_relink, entry, parent->uuid, "its data is in its parent");
        act(ReplayAction::Kind::remove_entry, entry, "", "its data is not in its parent: it is merged again");
    }

    void plan_leaf(const SmEntry& entry) {
        const std::string& leaf = entry.vdi;
        const std::string& parent = entry.value;
        handled_.insert(leaf);
        const bool has_leaf = tree_.find(leaf) != nullptr;
        const bool has_old = tree_.find(set_aside(leaf)) != nullptr;
        const bool has_parent = tree_.find(parent) != nullptr;
        for (const std::string& vdi : {leaf, set_aside(leaf), parent})
            if (tree_.find(vdi) != nullptr && usable(vdi) == nullptr)
                return freeze_leaf(entry, vdi + " cannot be read");
        using Kind = ReplayAction::Kind;
        if (has_parent && has_leaf != has_old)
            return act(Kind::undo_leaf, entry, parent, "the names were not exchanged completely");
        if (has_leaf && !has_parent && !has_old)
            return act(Kind::finish_leaf, entry, parent, "only the entry was left");
        if (has_leaf && !has_parent) {
            if (holds(*tree_.find(leaf), *tree_.find(set_aside(leaf))))
                return act(Kind::finish_leaf, entry, parent, "the leaf holds all that the one set aside holds");
            return act(Kind::undo_leaf, entry, parent, "the leaf lacks data of the one set aside");
        }
        freeze_leaf(entry, "no state that a merge of a leaf passes through");
    }

    void freeze_leaf(const SmEntry& entry, const std::string& why) {
        for (const std::string& vdi : {entry.vdi, set_aside(entry.vdi), entry.value})
            freeze(vdi, "the merge of leaf " + entry.vdi + " into " + entry.value + " was cut short: " + why);
    }

    void plan_foreign(const SmEntry& entry) {
        if (entry.type == SmEntryType::zero && tree_.find(entry.vdi) == nullptr)
            return act(ReplayAction::Kind::remove_entry, entry, "", "its VDI is gone");
        // File SRs do not know these operations: whoever wrote this has to finish it.
        freeze(entry.vdi, entry.file + " tells of an unfinished operation of sm");
        if (entry.type != SmEntryType::clone) return;
        for (std::string_view rest = entry.value; !rest.empty();) {
            const auto end = std::min(rest.find('_'), rest.size());
            freeze(std::string{rest.substr(0, end)}, entry.file + " tells of an unfinished operation of sm");
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
    }

    /// A leaf that was set aside, without an entry: the last thing that a merge deletes.
    void plan_set_aside(const TreeNode& old) {
        const std::string leaf = old.uuid.substr(set_aside_prefix.size());
        if (handled_.contains(leaf)) return;
        const TreeNode* holder = usable(leaf);
        const bool complete = holder != nullptr && usable(old.uuid) != nullptr && !old.parent &&
                              tree_.children(old.uuid).empty() && holds(*holder, old);
        if (complete) {
            plan_.actions.push_back({ReplayAction::Kind::finish_leaf, leaf, "", "", "its merge is complete"});
            return;
        }
        const std::string why =
            "a merge set " + old.uuid + " aside, and it cannot be told whether that is still needed";
        freeze(old.uuid, why);
        freeze(leaf, why);
    }

    Storage& storage_;
    const SrTree& tree_;
    ReplayPlan plan_;
    std::set<std::string> handled_; ///< leaves that an entry speaks of
};

} // namespace

ReplayPlan plan_replay(Storage& storage, const SrTree& tree) {
    return Planner{storage, tree}.plan();
}

std::map<std::string, std::string> pending_vdis(const ReplayPlan& plan) {
    std::map<std::string, std::string> pending;
    for (const ReplayAction& action : plan.actions) {
        if (action.kind == ReplayAction::Kind::remove_entry) continue;
        for (const std::string& vdi : {action.vdi, set_aside(action.vdi), action.other})
            if (!vdi.empty()) pending.emplace(vdi, "an interrupted operation is completed first: " + action.text);
    }
    return pending;
}

} // namespace coppice
