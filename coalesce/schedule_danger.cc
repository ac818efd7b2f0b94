#include "coalesce/schedule_danger.h"

#include "coalesce/plan_index.h"
#include "coalesce/plan_text.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace coppice {
namespace {

constexpr std::size_t none = PlanIndex::none;

/// For each node the longest chain that goes through it, from a visible disk to the root.
class ChainDepths {
public:
    explicit ChainDepths(const PlanIndex& index)
        : index_{index}, below_(index.size(), 0), above_(index.size(), 0), disk_(index.size(), none) {
        std::vector<std::size_t> order; // parents before children; nothing that hangs on a cycle
        for (std::size_t place = 0; place < index.size(); ++place)
            if (index.parent(place) == none) order.push_back(place);
        for (std::size_t at = 0; at < order.size(); ++at) {
            const std::size_t parent = index.parent(order[at]);
            below_[order[at]] = parent == none ? 0 : below_[parent] + 1;
            for (const std::size_t child : index.children(order[at]))
                order.push_back(child);
        }
        for (auto at = order.rbegin(); at != order.rend(); ++at)
            hand_down(*at);
    }

    /// 0 where nothing visible reads through it.
    std::size_t depth(std::size_t place) const { return disk_[place] == none ? 0 : below_[place] + above_[place] + 1; }
    /// The visible node at the top of that chain.
    std::size_t disk(std::size_t place) const { return disk_[place]; }

private:
    void hand_down(std::size_t place) {
        if (disk_[place] == none && !index_.node(place).hidden) disk_[place] = place;
        const std::size_t parent = index_.parent(place);
        if (parent == none || disk_[place] == none) return;
        if (disk_[parent] != none && above_[parent] > above_[place]) return;
        above_[parent] = above_[place] + 1;
        disk_[parent] = disk_[place];
    }

    const PlanIndex& index_;
    std::vector<std::size_t> below_; ///< images beneath it
    std::vector<std::size_t> above_; ///< images above it, up to disk_
    std::vector<std::size_t> disk_;
};

class UrgentFinder {
public:
    UrgentFinder(const Plan& plan, const SrTree& tree, Bytes free, std::size_t danger_depth)
        : plan_{plan}, index_{tree}, depths_{index_}, free_{free}, danger_depth_{danger_depth},
          builds_on_(plan.steps.size()), deep_(plan.steps.size(), false) {
        find_foundations();
    }

    Urgent find() {
        Urgent urgent;
        find_deep();
        urgent.steps = deep_;
        const auto starved = drop_what_does_not_fit(urgent.steps);
        const auto needed = starved ? starved : cheapest_waiting(urgent.steps);
        const bool short_of_space = needed && (starved || free_ < *needed);
        std::vector<bool> wanted = deep_;
        if (short_of_space) make_room(wanted, *needed);
        drop_what_does_not_fit(wanted);
        tell_chains(wanted, urgent.dangers);
        if (short_of_space && wanted != urgent.steps)
            urgent.dangers.push_back("Only " + human_size(free_) + " are free and the cheapest step that waits needs " +
                                     human_size(*needed) + ", so that steps which free space go on.");
        urgent.steps = std::move(wanted);
        return urgent;
    }

private:
    const Step& step(std::size_t at) const { return plan_.steps[at]; }

    void for_each_image(std::size_t at, const std::function<void(std::size_t)>& act) const {
        for (const std::string& vdi : step(at).emptied)
            if (const std::size_t place = index_.find(vdi); place != none) act(place);
        if (step(at).into)
            if (const std::size_t place = index_.find(*step(at).into); place != none) act(place);
    }

    /// A step builds on the earlier ones that have an image of its own or next to one of its own: they decide who its
    /// children are and under which names its neighbours live on.
    void find_foundations() {
        std::vector<std::vector<std::size_t>> steps_of(index_.size());
        for (std::size_t at = 0; at < plan_.steps.size(); ++at) {
            const auto add = [&](std::size_t place) {
                for (const std::size_t earlier : steps_of[place])
                    if (builds_on_[at].empty() || builds_on_[at].back() != earlier) builds_on_[at].push_back(earlier);
            };
            for_each_image(at, [&](std::size_t place) {
                add(place);
                if (index_.parent(place) != none) add(index_.parent(place));
                for (const std::size_t child : index_.children(place))
                    add(child);
            });
            for_each_image(at, [&](std::size_t place) { steps_of[place].push_back(at); });
        }
    }

    bool stands(std::size_t at, const std::vector<bool>& chosen) const {
        return std::ranges::all_of(builds_on_[at], [&](std::size_t earlier) { return chosen[earlier]; });
    }

    std::size_t deepest_image(std::size_t at) const {
        std::size_t deepest = none;
        for_each_image(at, [&](std::size_t place) {
            if (deepest == none || depths_.depth(place) > depths_.depth(deepest)) deepest = place;
        });
        return deepest;
    }

    bool is_deep(std::size_t at) const {
        const std::size_t place = deepest_image(at);
        return place != none && depths_.disk(place) != none && depths_.depth(place) >= danger_depth_;
    }

    void find_deep() {
        for (std::size_t at = plan_.steps.size(); at-- > 0;) {
            if (!deep_[at]) deep_[at] = is_deep(at);
            if (!deep_[at]) continue;
            for (const std::size_t earlier : builds_on_[at])
                deep_[earlier] = true;
        }
    }

    Bytes emptied(std::size_t at) const {
        Bytes sum;
        for (const std::string& vdi : step(at).emptied)
            if (const std::size_t place = index_.find(vdi); place != none) sum += index_.node(place).physical_size;
        return sum;
    }

    /// Takes out of `chosen` what does not fit when its turn comes, and what builds on that. Returns the least that was
    /// needed by one that did not fit.
    std::optional<Bytes> drop_what_does_not_fit(std::vector<bool>& chosen) const {
        std::optional<Bytes> least;
        Bytes free = free_;
        for (std::size_t at = 0; at < plan_.steps.size(); ++at) {
            if (!chosen[at]) continue;
            chosen[at] = stands(at, chosen);
            if (!chosen[at]) continue;
            const Bytes needed = step(at).space_needed;
            if (needed > free) {
                chosen[at] = false;
                least = least ? std::min(*least, needed) : needed;
                continue;
            }
            const Bytes after = free + emptied(at);
            free = after > needed ? after - needed : 0_B;
        }
        return least;
    }

    /// Steps that need none would fit into any SR and say nothing of its state.
    std::optional<Bytes> cheapest_waiting(const std::vector<bool>& chosen) const {
        std::optional<Bytes> least;
        const auto consider = [&](Bytes needed) {
            if (needed > 0_B && (!least || needed < *least)) least = needed;
        };
        for (std::size_t at = 0; at < plan_.steps.size(); ++at)
            if (!chosen[at]) consider(step(at).space_needed);
        for (const Skipped& skipped : plan_.skipped)
            consider(skipped.space_needed);
        return least;
    }

    /// Adds steps that free space until `needed` is free.
    void make_room(std::vector<bool>& chosen, Bytes needed) const {
        Bytes free = free_;
        for (const bool collections : {true, false}) {
            for (std::size_t at = 0; at < plan_.steps.size() && free < needed; ++at) {
                if ((step(at).kind == StepKind::collect) != collections || chosen[at]) continue;
                if (step(at).space_freed == 0_B || step(at).space_needed > free || !stands(at, chosen)) continue;
                chosen[at] = true;
                free += step(at).space_freed;
            }
        }
    }

    void tell_chains(const std::vector<bool>& chosen, std::vector<std::string>& dangers) const {
        std::set<std::size_t> told;
        for (std::size_t at = 0; at < plan_.steps.size(); ++at) {
            if (!chosen[at] || !is_deep(at)) continue;
            const std::size_t place = deepest_image(at);
            if (!told.insert(depths_.disk(place)).second) continue;
            dangers.push_back("The chain of " + index_.node(depths_.disk(place)).uuid + " has " +
                              std::to_string(depths_.depth(place)) + " images and the danger line is " +
                              std::to_string(danger_depth_) + ", so that work on it goes on.");
        }
    }

    const Plan& plan_;
    PlanIndex index_;
    ChainDepths depths_;
    Bytes free_;
    std::size_t danger_depth_;
    std::vector<std::vector<std::size_t>> builds_on_; ///< per step: earlier steps, some maybe twice
    std::vector<bool> deep_;
};

} // namespace

Urgent find_urgent(const Plan& plan, const SrTree& tree, Bytes free, std::size_t danger_depth) {
    return UrgentFinder{plan, tree, free, danger_depth}.find();
}

} // namespace coppice
