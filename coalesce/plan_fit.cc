#include "coalesce/plan_fit.h"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

namespace coppice {
namespace {

/// Two neighbours of a group as a group of their own.
MergeGroup pair_of(const MergeGroup& group, std::size_t newer) {
    MergeGroup pair = group;
    pair.members = {group.members[newer], group.members[newer + 1]};
    if (newer > 0) {
        pair.top = MergeGroup::Top::hidden;
        pair.top_children = {group.members[newer - 1]};
    }
    if (newer + 2 < group.members.size()) pair.beneath = group.members[newer + 2];
    return pair;
}

/// Puts steps in an order in which each of them fits, given what the ones before it consume and free.
class Scheduler {
public:
    Scheduler(const PlanIndex& index, const std::map<std::string, LayerFacts>& facts, Bytes free_space,
              const Policy& policy, SkipList& skipped)
        : index_{index}, facts_{facts}, free_{free_space}, policy_{policy}, skipped_{skipped} {}

    void collect(const std::vector<std::size_t>& garbage) {
        for (const std::size_t place : garbage) {
            const TreeNode& node = index_.node(place);
            Step step;
            step.vdi = node.uuid;
            step.emptied = {node.uuid};
            step.space_freed = node.physical_size;
            take(std::move(step));
        }
    }

    void merge(std::vector<PricedGroup> pending) {
        const auto first_vdi = [this](const PricedGroup& entry) {
            return index_.node(entry.group->members.front()).uuid;
        };
        std::ranges::sort(pending, [&](const PricedGroup& a, const PricedGroup& b) {
            return a.gain != b.gain ? a.gain > b.gain : first_vdi(a) < first_vdi(b);
        });
        pending_ = std::move(pending);
        for (std::size_t entry = 0; entry < pending_.size(); ++entry) {
            if (pending_[entry].best_needs <= free_)
                take(pending_[entry].best);
            else
                waiting_.emplace(pending_[entry].best_needs, entry);
            retry_waiting();
        }
        try_second_best();
        while (try_slices()) {
        }
        for (const auto& [needs, entry] : waiting_)
            explain_no_space(entry);
    }

    std::vector<Step> steps() && { return std::move(steps_); }

private:
    using Waiting = std::set<std::pair<Bytes, std::size_t>>; ///< need, then index into pending_

    /// Room made by one step may let another in.
    void retry_waiting() {
        while (!waiting_.empty() && waiting_.begin()->first <= free_) {
            const std::size_t entry = waiting_.begin()->second;
            waiting_.erase(waiting_.begin());
            take(pending_[entry].best);
        }
    }

    /// Where the cheapest way does not fit, another one may.
    void try_second_best() {
        Waiting others;
        std::vector<std::vector<std::vector<Step>>> ways(pending_.size());
        for (const auto& [needs, entry] : waiting_) {
            least_need_[entry] = needs;
            for (const MergeOption& option : pending_[entry].options) {
                const bool best = &option == &pending_[entry].options.front();
                std::vector<Step> way = best ? pending_[entry].best : price(pending_[entry], option);
                if (!best && first_delayed(way, policy_) < way.size()) continue;
                ways[entry].push_back(std::move(way));
                least_need_[entry] = std::min(least_need_[entry], free_needed(ways[entry].back(), index_));
            }
            others.emplace(least_need_[entry], entry);
        }
        while (!others.empty() && others.begin()->first <= free_) {
            const std::size_t entry = others.begin()->second;
            others.erase(others.begin());
            if (waiting_.erase({pending_[entry].best_needs, entry}) == 0) continue; // its best way fits by now
            const auto way = std::ranges::find_if(
                ways[entry], [this](const auto& steps) { return free_needed(steps, index_) <= free_; });
            take(*way);
            retry_waiting();
        }
    }

    /// Where no way fits at once, two neighbours of a group may still be merged piece by piece; what is left of the
    /// group is for the next plan. True where that has let something in.
    bool try_slices() {
        for (const auto& [needs, entry] : waiting_) {
            const auto step = sliced(entry);
            if (!step) continue;
            waiting_.erase({needs, entry});
            take(*step);
            retry_waiting();
            return true;
        }
        return false;
    }

    std::optional<Step> sliced(std::size_t entry) {
        const MergeGroup& group = *pending_[entry].group;
        for (std::size_t newer = 0; newer + 1 < group.members.size(); ++newer) {
            const MergeGroup pair = pair_of(group, newer);
            const GroupPrice price{index_, pair, facts_};
            const auto options = price.options(policy_);
            if (std::holds_alternative<GroupPrice::Refusal>(options)) continue;
            for (const MergeOption& option : std::get<std::vector<MergeOption>>(options)) {
                if (first_delayed(price.steps(option), policy_) == 0) continue;
                const auto result = price.in_slices(option, free_);
                if (!result) continue;
                if (const auto* step = std::get_if<Step>(&*result)) return *step;
                Bytes& least = least_need_[entry];
                least = std::min(least, free_ + std::get<SlicesLack>(*result).lacking);
            }
        }
        return std::nullopt;
    }

    std::vector<Step> price(const PricedGroup& entry, const MergeOption& option) const {
        return GroupPrice{index_, *entry.group, facts_}.steps(option);
    }

    void explain_no_space(std::size_t entry) {
        const Bytes needs = std::min(pending_[entry].best_needs, least_need_.at(entry));
        skipped_.add(*pending_[entry].group, {"no-space", space_text(needs, entry), "", needs});
    }

    std::string space_text(Bytes needs, std::size_t entry) const {
        const std::string text =
            "needs " + std::to_string(needs.count()) + " bytes, " + std::to_string(free_.count()) + " are free";
        const Bytes unit = facts_.at(index_.node(pending_[entry].group->members.front()).uuid).size_unit;
        if (unit == 0_B || needs <= free_) return text;
        return text + ": lacks " + std::to_string(units_needed(needs - free_, unit)) + " extents of " +
               std::to_string(unit.count()) + " bytes";
    }

    void take(const std::vector<Step>& steps) {
        for (const Step& step : steps)
            take(Step{step});
    }

    void take(Step step) {
        Bytes emptied;
        for (const std::string& vdi : step.emptied) {
            const std::size_t place = index_.find(vdi);
            emptied += index_.node(place).physical_size;
            skipped_.remove(place);
        }
        if (step.into) {
            skipped_.remove(index_.find(*step.into));
            follow_renames(step);
        }
        const Bytes after = free_ + emptied;
        if (step.in_slices) // what it needs at a time is not what it takes in all
            free_ += step.space_freed;
        else
            free_ = after > step.space_needed ? after - step.space_needed : 0_B;
        steps_.push_back(std::move(step));
    }

    /// Neighbours of the group may be called otherwise by now, because of earlier steps of this plan.
    void follow_renames(Step& step) {
        if (step.parent_after) step.parent_after = current_name(*step.parent_after);
        for (std::string& child : step.relinked)
            child = current_name(child);
        std::ranges::sort(step.relinked);
        for (const std::string& vdi : step.emptied)
            if (vdi != step.survivor) lives_on_as_[vdi] = step.survivor;
        if (*step.into != step.survivor) lives_on_as_[*step.into] = step.survivor;
    }

    std::string current_name(const std::string& vdi) const {
        const auto found = lives_on_as_.find(vdi);
        return found == lives_on_as_.end() ? vdi : current_name(found->second);
    }

    const PlanIndex& index_;
    const std::map<std::string, LayerFacts>& facts_;
    Bytes free_;
    const Policy& policy_;
    SkipList& skipped_;
    std::vector<PricedGroup> pending_;
    Waiting waiting_; ///< groups whose best way did not fit when it was their turn
    std::map<std::size_t, Bytes> least_need_;
    std::map<std::string, std::string> lives_on_as_; ///< at most two hops: a group has at most two steps
    std::vector<Step> steps_;
};

} // namespace

std::vector<Step> fitting_steps(const PlanIndex& index, const std::vector<std::size_t>& garbage,
                                std::vector<PricedGroup> groups, const std::map<std::string, LayerFacts>& facts,
                                Bytes free_space, const Policy& policy, SkipList& skipped) {
    Scheduler scheduler{index, facts, free_space, policy, skipped};
    scheduler.collect(garbage);
    scheduler.merge(std::move(groups));
    return std::move(scheduler).steps();
}

} // namespace coppice
