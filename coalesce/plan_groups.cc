#include "coalesce/plan_groups.h"

#include <algorithm>
#include <deque>
#include <optional>

namespace coppice {
namespace {

constexpr std::size_t none = PlanIndex::none;

Obstacle attached(const TreeNode& node) {
    const Opener& opener = node.openers.front();
    const std::string text = opener.pid == 0
                                 ? node.uuid + " is locked" + (opener.name.empty() ? "" : " by " + opener.name)
                                 : node.uuid + " is open in process " + std::to_string(opener.pid) +
                                       (opener.name.empty() ? "" : " (" + opener.name + ")");
    return {"attached", text, node.uuid};
}

/// What a switch says that is not on.
std::string switch_text(const std::string& reason) {
    if (reason == "gc-disabled") return "garbage collection is switched off";
    if (reason == "coalesce-disabled") return "coalescing is switched off";
    if (reason == "leaf-coalesce-disabled") return "leaf coalescing is switched off";
    if (reason == "reset-on-boot") return "the disk is reset whenever its VM boots";
    if (reason == "caching") return "the disk is cached on its host";
    return "the disk may not be leaf coalesced";
}

class Finder {
public:
    Finder(const PlanIndex& index, const FrozenSet& frozen, const Policy& policy, SkipList& skipped)
        : index_{index}, frozen_{frozen}, policy_{policy}, skipped_{skipped}, gone_(index.size(), false),
          grouped_(index.size(), false), children_left_(index.size(), 0), open_at_(index.size(), none) {
        for (std::size_t place = 0; place < index.size(); ++place)
            children_left_[place] = index.children(place).size();
        find_openers();
    }

    Structure find() {
        explain_frozen();
        find_garbage();
        explain_below_kept();
        for (std::size_t place = 0; place < index_.size(); ++place)
            if (may_be_top(place)) find_group(place);
        explain_neighbours();
        return std::move(result_);
    }

private:
    const TreeNode& node(std::size_t place) const { return index_.node(place); }
    bool wanted(std::size_t place) const { return policy_.only.empty() || policy_.only.contains(node(place).uuid); }

    /// For each node, somebody in it or above it who has an image open.
    void find_openers() {
        for (std::size_t place = 0; place < index_.size(); ++place) {
            if (node(place).openers.empty()) continue;
            for (std::size_t at = place; at != none && open_at_[at] == none; at = index_.parent(at))
                open_at_[at] = place;
        }
    }

    void explain_frozen() {
        for (std::size_t place = 0; place < index_.size(); ++place) {
            if (!frozen_.contains(place) || !wanted(place)) continue;
            const bool could_take_part = node(place).hidden || index_.parent(place) != none;
            const bool is_trouble = frozen_.is_cause(place) && (frozen_.reason(place) != "sm-operation" ||
                                                                policy_.sm_texts.contains(node(place).uuid));
            if (could_take_part || is_trouble)
                skipped_.add(place, {frozen_.reason(place), frozen_.text(place), frozen_.cause(place)});
        }
    }

    void find_garbage() {
        std::deque<std::size_t> childless;
        for (std::size_t place = 0; place < index_.size(); ++place)
            if (node(place).hidden && children_left_[place] == 0) childless.push_back(place);
        while (!childless.empty()) {
            const std::size_t place = childless.front();
            childless.pop_front();
            if (!may_be_collected(place)) continue;
            result_.garbage.push_back(place);
            gone_[place] = true;
            const std::size_t parent = index_.parent(place);
            if (parent != none && --children_left_[parent] == 0 && node(parent).hidden) childless.push_back(parent);
        }
    }

    bool may_be_collected(std::size_t place) {
        if (frozen_.contains(place) || !wanted(place)) return false;
        auto obstacle = why_kept(place);
        if (!obstacle) return true;
        skipped_.add(place, *obstacle);
        if (obstacle->cause.empty() && obstacle->reason != "scan-incomplete") {
            obstacle->cause = node(place).uuid;
            obstacle->text = node(place).uuid + ": " + obstacle->text;
        }
        kept_.emplace_back(place, std::move(*obstacle));
        return false;
    }

    std::optional<Obstacle> why_kept(std::size_t place) const {
        if (!policy_.gc || !policy_.collect) return Obstacle{"gc-disabled", switch_text("gc-disabled")};
        const auto refused = policy_.refused.find(node(place).uuid);
        if (refused != policy_.refused.end() && refused->second == "gc-disabled")
            return Obstacle{refused->second, switch_text(refused->second) + " for it"};
        if (!index_.complete())
            return Obstacle{"scan-incomplete", "an image that could not be looked at may depend on it"};
        // Deleting what somebody still reads would free nothing, and would let its parents be deleted under him.
        if (open_at_[place] != none) return attached(node(open_at_[place]));
        const auto delay = policy_.retry_later.find({node(place).uuid, ""});
        if (delay != policy_.retry_later.end())
            return Obstacle{"retry-later", "deleting " + node(place).uuid + " has to wait: " + delay->second,
                            node(place).uuid};
        return std::nullopt;
    }

    /// What is only there for a piece of garbage stays with it.
    void explain_below_kept() {
        for (const auto& [garbage, why] : kept_) {
            std::size_t place = index_.parent(garbage);
            while (place != none && node(place).hidden && children_left_[place] == 1 && !frozen_.contains(place)) {
                skipped_.add(place, why);
                place = index_.parent(place);
            }
        }
    }

    bool may_be_top(std::size_t place) const {
        if (gone_[place] || frozen_.contains(place)) return false;
        return !node(place).hidden || children_left_[place] >= 2;
    }

    void find_group(std::size_t top) {
        MergeGroup group;
        group.members.push_back(top);
        std::size_t parent = index_.parent(top);
        while (parent != none && !frozen_.contains(parent) && node(parent).hidden && children_left_[parent] == 1) {
            group.members.push_back(parent);
            parent = index_.parent(parent);
        }
        group.beneath = parent;
        if (group.members.size() < 2 || std::ranges::none_of(group.members, [&](auto m) { return wanted(m); })) return;
        group.top = node(top).hidden           ? MergeGroup::Top::hidden
                    : children_left_[top] == 0 ? MergeGroup::Top::leaf
                                               : MergeGroup::Top::visible_inner;
        for (const std::size_t child : index_.children(top))
            if (!gone_[child]) group.top_children.push_back(child);
        if (!policy_.gc) return skipped_.add(group, {"gc-disabled", switch_text("gc-disabled")});
        if (!policy_.coalesce) return skipped_.add(group, {"coalesce-disabled", switch_text("coalesce-disabled")});
        add_parts(group);
    }

    /// Members that take no part divide a group; what stands above and below each may still become one.
    void add_parts(const MergeGroup& group) {
        MergeGroup part;
        part.top = group.top;
        part.top_children = group.top_children;
        std::size_t above = none; // the member that divides this part from the one above it
        for (const std::size_t member : group.members) {
            if (!policy_.refused.contains(node(member).uuid)) {
                part.members.push_back(member);
                continue;
            }
            const std::string& reason = policy_.refused.at(node(member).uuid);
            skipped_.add(member, {reason, switch_text(reason) + " for it"});
            part.beneath = member;
            add_part(std::move(part), above == none ? member : above);
            part = MergeGroup{{}, MergeGroup::Top::hidden, {member}, none};
            above = member;
        }
        part.beneath = group.beneath;
        add_part(std::move(part), above);
    }

    /// `divider` is the neighbour that takes no part; `none` where there is none.
    void add_part(MergeGroup part, std::size_t divider) {
        if (part.members.size() >= 2) return add_group(std::move(part));
        if (part.members.empty() || divider == none || !wanted(part.members.front())) return;
        const std::string& reason = policy_.refused.at(node(divider).uuid);
        skipped_.add(part.members.front(),
                     {reason, node(divider).uuid + ": " + switch_text(reason) + " for it", node(divider).uuid});
    }

    void add_group(MergeGroup group) {
        if (std::ranges::none_of(group.members, [&](auto member) { return wanted(member); })) return;
        if (!index_.complete())
            return skipped_.add(group, {"scan-incomplete", "an image that could not be looked at may depend on it"});
        // With one child each, whoever has a member or something above it open is seen at the last member.
        if (const std::size_t open = open_at_[group.members.back()]; open != none)
            return skipped_.add(group, attached(node(open)));
        if (group.top == MergeGroup::Top::leaf && !leaf_may_take_part(group.members.front())) {
            const std::string leaf_name = node(group.members.front()).uuid;
            group.top_children = {group.members.front()};
            group.members.erase(group.members.begin());
            group.top = MergeGroup::Top::hidden;
            if (group.members.size() < 2)
                return skipped_.add(group.members.front(), {leaf_reason_, leaf_name + ": " + leaf_text_, leaf_name});
            if (std::ranges::none_of(group.members, [&](auto member) { return wanted(member); })) return;
        }
        for (const std::size_t member : group.members)
            grouped_[member] = true;
        result_.groups.push_back(std::move(group));
    }

    bool leaf_may_take_part(std::size_t leaf) {
        const auto refused = policy_.leaf_refused.find(node(leaf).uuid);
        if (policy_.leaf_coalesce && refused == policy_.leaf_refused.end()) return true;
        leaf_reason_ = policy_.leaf_coalesce ? refused->second : "leaf-coalesce-disabled";
        leaf_text_ = switch_text(leaf_reason_);
        skipped_.add(leaf, {leaf_reason_, leaf_text_});
        return false;
    }

    /// Children that have a parent which they could be merged with, were it not for others.
    void explain_neighbours() {
        for (std::size_t place = 0; place < index_.size(); ++place) {
            const std::size_t parent = index_.parent(place);
            if (gone_[place] || grouped_[place] || parent == none || frozen_.contains(place) || !wanted(place))
                continue;
            const std::string its_parent = "its parent " + node(parent).uuid;
            if (!node(parent).hidden)
                skipped_.add(place, {"parent-visible", its_parent + " is a disk of its own"});
            else if (children_left_[parent] >= 2)
                skipped_.add(place,
                             {"siblings", its_parent + " has " + std::to_string(children_left_[parent]) + " children"});
            else if (frozen_.contains(parent))
                skipped_.add(place, {frozen_.reason(parent), frozen_.text(parent), frozen_.cause(parent)});
        }
    }

    const PlanIndex& index_;
    const FrozenSet& frozen_;
    const Policy& policy_;
    SkipList& skipped_;
    std::vector<bool> gone_;
    std::vector<bool> grouped_;
    std::vector<std::size_t> children_left_;
    std::vector<std::size_t> open_at_;
    std::vector<std::pair<std::size_t, Obstacle>> kept_; ///< garbage that has to stay
    std::string leaf_reason_;
    std::string leaf_text_;
    Structure result_;
};

} // namespace

void SkipList::add(std::size_t place, Obstacle obstacle) {
    const std::string& vdi = index_.node(place).uuid;
    if (obstacle.cause == vdi) obstacle.cause.clear();
    skipped_.try_emplace(place, Skipped{vdi, std::move(obstacle.reason), std::move(obstacle.text),
                                        std::move(obstacle.cause), obstacle.space_needed});
}

void SkipList::add(const MergeGroup& group, const Obstacle& obstacle) {
    for (const std::size_t member : group.members)
        add(member, obstacle);
}

std::vector<Skipped> SkipList::list() const {
    std::vector<Skipped> result;
    for (const auto& [place, skipped] : skipped_)
        result.push_back(skipped); // nodes are sorted by uuid
    return result;
}

Structure find_structure(const PlanIndex& index, const FrozenSet& frozen, const Policy& policy, SkipList& skipped) {
    return Finder{index, frozen, policy, skipped}.find();
}

} // namespace coppice
