// The priced half of the planner: what it costs to make one image of a group, for each image that could remain.
//
// One pass over the maps tells which layer each byte of the group comes from. With that, the bytes to copy for any
// target are a sum: everything but what the target itself contributes. What a newer layer covers is never counted.
#pragma once

#include "coalesce/merged_space.h"
#include "coalesce/plan.h"
#include "coalesce/plan_groups.h"
#include "coalesce/plan_index.h"
#include "coalesce/slices.h"

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace coppice {

/// Upper bound of what `into` may grow by when it receives `incoming`.
///
/// `beneath` is the size of what lies under it: zeros at or behind that size read as zeros anyway and are not stored.
struct Growth {
    const TargetShape& shape;
    const GuestMap& into;
    Bytes old_size;
    Bytes new_size;
    Bytes beneath;
};
Bytes growth(const Growth& target, const GuestMap& incoming);

/// One way to merge a group: at most one step down and one step up, to be done in this order.
struct MergeOption {
    std::size_t target = 0; ///< index into MergeGroup::members
    Bytes copy_bytes;
    std::size_t header_changes = 0;
};

class GroupPrice {
public:
    /// `facts` has an entry for every member. All of them must outlive it.
    GroupPrice(const PlanIndex& index, const MergeGroup& group, const std::map<std::string, LayerFacts>& facts);

    struct Refusal {
        std::string reason;
        std::string text;
    };
    /// The ways that the rules allow, cheapest first; at least one. Or why there is none.
    std::variant<std::vector<MergeOption>, Refusal> options(const Policy& policy) const;
    /// Linear in the number of runs.
    std::vector<Step> steps(const MergeOption& option) const;

    /// The only step of `option`, of a group of two, done in slices so that it fits into `free` bytes; how much more
    /// than that it would need; or nullopt where it cannot be done so: not on volumes, or one of the two is a disk that
    /// has to keep its room.
    std::optional<std::variant<Step, SlicesLack>> in_slices(const MergeOption& option, Bytes free) const;

private:
    struct LayerRun {
        GuestRun run;
        std::size_t layer = 0;
    };
    using LayerMap = std::vector<LayerRun>;

    const TreeNode& member(std::size_t layer) const { return index_.node(group_.members[layer]); }
    const LayerFacts& facts(std::size_t layer) const { return *facts_[layer]; }
    std::size_t count() const { return group_.members.size(); }
    const TreeNode* beneath() const;

    LayerMap compose(std::size_t first, std::size_t last) const;
    LayerMap layer_map(std::size_t layer) const;
    static LayerMap lay_over(const LayerMap& newer, const LayerMap& older);
    GuestMap incoming(std::size_t first, std::size_t last) const;

    std::optional<Refusal> refusal(std::size_t target, const Policy& policy) const;
    std::optional<Refusal> format_refusal(std::size_t target, const Policy& policy) const;
    bool has_qcow2_over_vhd() const;
    std::size_t header_changes(std::size_t target) const;
    bool may_be_sliced(std::size_t source, std::size_t target) const;
    void prefer_less_space(std::vector<MergeOption>& options) const;

    Step down(std::size_t target) const;
    Step up(std::size_t target) const;
    /// What a target takes of the SR while it receives, and the sizes that count for what is freed.
    struct Room {
        Bytes needed;
        Bytes before;
        Bytes after;
    };
    Room room(std::size_t target, const Growth& into, const GuestMap& incoming,
              const std::function<MergeInput()>& merge) const;
    std::vector<MappedLayer> layers(std::size_t first, std::size_t last) const;
    std::vector<MappedLayer> layers_below(std::size_t first) const;
    void finish(Step& step, std::size_t first, std::size_t last, const Room& room) const;

    const PlanIndex& index_;
    const MergeGroup& group_;
    std::vector<const LayerFacts*> facts_;
    Bytes size_; ///< of the newest member: what lies behind it nobody sees
    LayerMap composite_;
    bool qcow2_over_vhd_;            ///< somewhere in the chain as it is
    std::vector<Bytes> contributes_; ///< data bytes per layer that no newer layer covers
    GuestMap beneath_;               ///< what may lie under the group: all of it, as nobody has looked
};

/// What the SR must have free before the first of the steps, so that each of them fits.
Bytes free_needed(const std::vector<Step>& steps, const PlanIndex& index);

} // namespace coppice
