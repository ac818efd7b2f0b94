#include "coalesce/plan_price.h"

#include "coalesce/volume_format.h"
#include "lvm/thick_space.h"

#include <algorithm>
#include <tuple>

namespace coppice {
namespace {

Bytes minus_floor(Bytes a, Bytes b) {
    return a > b ? a - b : 0_B;
}

bool may_sit_on(Format child, Format parent) {
    return child != Format::raw && (parent == Format::raw || parent == child);
}

} // namespace

GroupPrice::GroupPrice(const PlanIndex& index, const MergeGroup& group,
                       const std::map<std::string, LayerFacts>& all_facts)
    : index_{index}, group_{group}, size_{index.node(group.members.front()).virtual_size}, qcow2_over_vhd_{false},
      contributes_(group.members.size()) {
    for (const std::size_t place : group.members)
        facts_.push_back(&all_facts.at(index.node(place).uuid));
    qcow2_over_vhd_ = has_qcow2_over_vhd();
    if (beneath() != nullptr) beneath_ = {{{0_B, beneath()->virtual_size}}};
    composite_ = compose(0, count());
    for (const LayerRun& part : composite_)
        if (!part.run.zero) contributes_[part.layer] += part.run.guest.length();
}

const TreeNode* GroupPrice::beneath() const {
    return group_.beneath == PlanIndex::none ? nullptr : &index_.node(group_.beneath);
}

GroupPrice::LayerMap GroupPrice::layer_map(std::size_t layer) const {
    LayerMap result;
    const Bytes end = std::min(member(layer).virtual_size, size_);
    for (const GuestRun& run : facts(layer).map) {
        const ByteRange visible = intersection(run.guest, {0_B, end});
        if (!visible.empty()) result.push_back({{visible, run.zero, run.compressed}, layer});
    }
    // Behind its end a layer says "zeros" to newer ones, whatever older layers hold there.
    if (end < size_) result.push_back({{{end, size_}, true}, layer});
    return result;
}

GroupPrice::LayerMap GroupPrice::lay_over(const LayerMap& newer, const LayerMap& older) {
    LayerMap result;
    result.reserve(newer.size() + older.size());
    std::size_t top = 0; // the first run of `newer` that is not in the result
    const auto take_newer_before = [&](Bytes offset) {
        while (top < newer.size() && newer[top].run.guest.begin < offset)
            result.push_back(newer[top++]);
    };
    for (const LayerRun& part : older) {
        Bytes at = part.run.guest.begin;
        while (at < part.run.guest.end) {
            take_newer_before(at + 1_B);
            if (top > 0) at = std::max(at, newer[top - 1].run.guest.end);
            if (at >= part.run.guest.end) break;
            const Bytes next = top < newer.size() ? newer[top].run.guest.begin : part.run.guest.end;
            LayerRun rest = part;
            rest.run.guest = {at, std::min(std::max(at, next), part.run.guest.end)};
            at = rest.run.guest.end;
            if (!rest.run.guest.empty())
                result.push_back(rest);
            else
                take_newer_before(at + 1_B);
        }
    }
    take_newer_before(Bytes{~0ULL});
    return result;
}

GroupPrice::LayerMap GroupPrice::compose(std::size_t first, std::size_t last) const {
    if (last - first == 1) return layer_map(first);
    // By halves, so that a chain of any depth costs only a logarithmic number of passes.
    const std::size_t middle = first + (last - first) / 2;
    return lay_over(compose(first, middle), compose(middle, last));
}

GuestMap GroupPrice::incoming(std::size_t first, std::size_t last) const {
    GuestMap result;
    for (const LayerRun& part : composite_)
        if (first <= part.layer && part.layer < last) append(result, part.run);
    return result;
}

bool GroupPrice::has_qcow2_over_vhd() const {
    const auto odd = [](const TreeNode& child, const TreeNode& parent) {
        return child.format == Format::qcow2 && parent.format == Format::vhd;
    };
    for (std::size_t layer = 0; layer + 1 < count(); ++layer)
        if (odd(member(layer), member(layer + 1))) return true;
    return beneath() != nullptr && odd(member(count() - 1), *beneath());
}

std::optional<GroupPrice::Refusal> GroupPrice::format_refusal(std::size_t target, const Policy& policy) const {
    const Format format = member(target).format;
    const Format top = member(0).format;
    const std::string name = "the result would be " + std::string{to_string(format)};
    if (format != top) {
        if (group_.top == MergeGroup::Top::leaf && policy.direction == DirectionPolicy::automatic)
            return Refusal{"mixed-formats", name + ", the disk is " + std::string{to_string(top)}};
        for (const std::size_t child : group_.top_children)
            if (!may_sit_on(index_.node(child).format, format))
                return Refusal{"mixed-formats", name + ", which its child " + index_.node(child).uuid + " cannot have"};
    }
    if (beneath() == nullptr) return std::nullopt;
    const Format parent = beneath()->format;
    const bool as_before = format == Format::qcow2 && parent == Format::vhd && qcow2_over_vhd_;
    if (!may_sit_on(format, parent) && !as_before)
        return Refusal{"mixed-formats", name + ", its parent is " + std::string{to_string(parent)}};
    return std::nullopt;
}

std::optional<GroupPrice::Refusal> GroupPrice::refusal(std::size_t target, const Policy& policy) const {
    if (target > 0) {
        if (group_.top == MergeGroup::Top::visible_inner)
            return Refusal{"parent-visible", member(0).uuid + " has children: its data can only be completed in place"};
        if (member(target).virtual_size > size_)
            return Refusal{"virtual-size", member(target).uuid + " is larger than " + member(0).uuid +
                                               ", and no image can be made smaller"};
        if (size_ > member(target).virtual_size && size_ > facts(target).shape.largest_virtual_size)
            return Refusal{"virtual-size", member(target).uuid + " cannot grow to " + std::to_string(size_.count()) +
                                               " bytes: its limit is " +
                                               std::to_string(facts(target).shape.largest_virtual_size.count())};
    }
    return format_refusal(target, policy);
}

std::size_t GroupPrice::header_changes(std::size_t target) const {
    std::size_t changes = target + 1 < count() ? 1 : 0;
    // A leaf keeps its name, so that the target has to be renamed and shown.
    if (target > 0) changes += group_.top == MergeGroup::Top::leaf ? 2 : group_.top_children.size();
    return changes;
}

std::variant<std::vector<MergeOption>, GroupPrice::Refusal> GroupPrice::options(const Policy& policy) const {
    std::size_t first = 0;
    std::size_t last = count();
    if (policy.direction == DirectionPolicy::down) first = count() - 1;
    if (policy.direction == DirectionPolicy::up) last = 1;
    Bytes all;
    for (const Bytes part : contributes_)
        all += part;
    std::vector<MergeOption> result;
    std::optional<Refusal> why_not;
    for (std::size_t target = first; target < last; ++target) {
        auto refused = refusal(target, policy);
        if (!refused) result.push_back({target, all - contributes_[target], header_changes(target)});
        if (refused && !why_not) why_not = std::move(refused);
    }
    if (result.empty()) return *why_not;
    const auto cost = [](const MergeOption& option) {
        return std::tuple{option.copy_bytes, option.header_changes, option.target};
    };
    std::ranges::sort(result, {}, cost);
    prefer_less_space(result);
    return result;
}

/// Among the cheapest, which are equal in bytes and headers, the one that needs least room comes first.
void GroupPrice::prefer_less_space(std::vector<MergeOption>& options) const {
    constexpr std::size_t most = 8; // pricing each costs a pass over the maps
    std::size_t equal = 1;
    while (equal < std::min(most, options.size()) && options[equal].copy_bytes == options[0].copy_bytes &&
           options[equal].header_changes == options[0].header_changes)
        ++equal;
    if (equal == 1) return;
    std::vector<std::pair<Bytes, MergeOption>> priced;
    for (std::size_t at = 0; at < equal; ++at)
        priced.emplace_back(free_needed(steps(options[at]), index_), options[at]);
    std::ranges::stable_sort(priced, {}, [](const auto& entry) { return entry.first; });
    for (std::size_t at = 0; at < equal; ++at)
        options[at] = priced[at].second;
}

std::vector<Step> GroupPrice::steps(const MergeOption& option) const {
    std::vector<Step> result;
    // Down first: what the newer layers cover need not be pulled up any more.
    if (option.target > 0) result.push_back(down(option.target));
    if (option.target + 1 < count()) result.push_back(up(option.target));
    return result;
}

std::vector<MappedLayer> GroupPrice::layers(std::size_t first, std::size_t last) const {
    std::vector<MappedLayer> result;
    for (std::size_t layer = first; layer < last; ++layer)
        result.push_back({facts(layer).map, member(layer).virtual_size});
    return result;
}

std::vector<MappedLayer> GroupPrice::layers_below(std::size_t first) const {
    std::vector<MappedLayer> result = layers(first, count());
    if (beneath() != nullptr) result.push_back({beneath_, beneath()->virtual_size});
    return result;
}

/// In a file a target grows by what it receives. A volume has its size: what counts is where the image will end.
GroupPrice::Room GroupPrice::room(std::size_t target, const Growth& into, const GuestMap& incoming,
                                  const std::function<MergeInput()>& merge) const {
    const Bytes grows = growth(into, incoming);
    const LayerFacts& known = facts(target);
    if (!known.space) return {grows, 0_B, grows};
    // sm's entry of the merge, and one of what is done just then: an enlargement, a relinking, an exchange of names.
    const Bytes entries = 2 * known.size_unit;
    const TreeNode& node = member(target);
    const Bytes end = round_up(known.space->end_after(merge()), known.size_unit);
    const Bytes more = minus_floor(end, node.physical_size);
    // A disk keeps its room for the writes of its guest; an image that is only read has none.
    const bool leaf = group_.top == MergeGroup::Top::leaf;
    const Bytes after = leaf ? std::max(member(0).physical_size, end) : end;
    return {more + entries, node.physical_size, after};
}

void GroupPrice::finish(Step& step, std::size_t first, std::size_t last, const Room& room) const {
    step.kind = group_.top == MergeGroup::Top::leaf ? StepKind::leaf_coalesce : StepKind::coalesce;
    Bytes emptied;
    for (std::size_t layer = first; layer < last; ++layer) {
        step.emptied.push_back(member(layer).uuid);
        step.copy_bytes += contributes_[layer];
        emptied += member(layer).physical_size;
    }
    step.vdi = step.emptied.front();
    step.space_needed = room.needed;
    step.space_freed = minus_floor(emptied + room.before, room.after);
}

Step GroupPrice::down(std::size_t target) const {
    Step step;
    step.direction = Direction::down;
    step.into = member(target).uuid;
    const bool leaf = group_.top == MergeGroup::Top::leaf;
    step.survivor = leaf ? member(0).uuid : *step.into;
    if (!leaf)
        for (const std::size_t child : group_.top_children)
            step.relinked.push_back(index_.node(child).uuid);
    const TreeNode* below = target + 1 < count() ? &member(target + 1) : beneath();
    if (below != nullptr) step.parent_after = below->uuid;

    GuestMap newer = incoming(0, target);
    const Bytes old_size = member(target).virtual_size;
    if (old_size < size_) newer = overlay(newer, size_, {{{old_size, size_}, true}}, 0_B); // what grow() must hide
    const Growth into{facts(target).shape, facts(target).map, old_size, std::max(old_size, size_),
                      below == nullptr ? 0_B : below->virtual_size};
    finish(step, 0, target,
           room(target, into, newer, [&] { return poured_down(layers(0, target), layers_below(target + 1)); }));
    return step;
}

Step GroupPrice::up(std::size_t target) const {
    Step step;
    step.direction = Direction::up;
    const bool renamed = target > 0 && group_.top == MergeGroup::Top::leaf;
    step.into = member(renamed ? 0 : target).uuid;
    step.survivor = *step.into;
    if (beneath() != nullptr) step.parent_after = beneath()->uuid;

    const Bytes size = std::max(member(target).virtual_size, target > 0 ? size_ : 0_B);
    const GuestMap present = target == 0 ? facts(0).map : overlay(incoming(0, target), size_, facts(target).map, 0_B);
    const Growth into{facts(target).shape, present, size, size, beneath() == nullptr ? 0_B : beneath()->virtual_size};
    finish(step, target + 1, count(), room(target, into, incoming(target + 1, count()), [&] {
               return pulled_up(size, layers(target + 1, count()), layers_below(count()));
           }));
    return step;
}

/// Disks keep what they have: a guest may start at any time. A disk that is smaller than its guest may fill it is a
/// snapshot's.
bool GroupPrice::may_be_sliced(std::size_t source, std::size_t target) const {
    const TreeNode& from = member(source);
    if (facts(source).tail == nullptr || facts(target).space == nullptr || !member(target).hidden) return false;
    return from.hidden || from.physical_size < lvm::sm::full(volume_format(from.format), from.virtual_size);
}

std::optional<std::variant<Step, SlicesLack>> GroupPrice::in_slices(const MergeOption& option, Bytes free) const {
    const std::size_t source = option.target == 0 ? 1 : 0;
    if (count() != 2 || !may_be_sliced(source, option.target)) return std::nullopt;
    Step step = steps(option).front();
    const TreeNode& into = member(option.target);
    const bool down = step.direction == Direction::down;
    const SlicedPair pair{step.direction,
                          {facts(source).map, member(source).virtual_size},
                          layers_below(2),
                          down ? std::max(into.virtual_size, size_) : into.virtual_size,
                          *facts(source).tail,
                          *facts(option.target).space,
                          member(source).physical_size,
                          into.physical_size,
                          facts(source).size_unit};
    const Bytes entries = 2 * pair.unit;
    const Slices slices{pair};
    Bytes room = minus_floor(free, entries);
    auto result = walk(slices, pair, room);
    // What lacks at one place may not be all: later ones may need more.
    while (const auto* lack = std::get_if<SlicesLack>(&result)) {
        room += lack->lacking;
        result = walk(slices, pair, room);
    }
    if (room + entries > free) return SlicesLack{room + entries - free};
    step.in_slices = true;
    step.space_needed = std::get<SlicesFit>(result).peak + entries;
    return step;
}

Bytes free_needed(const std::vector<Step>& steps, const PlanIndex& index) {
    Bytes needed;
    Bytes consumed; // by the steps before, more than they gave back
    Bytes released; // by the steps before, more than they consumed
    for (const Step& step : steps) {
        needed = std::max(needed, minus_floor(step.space_needed + consumed, released));
        Bytes emptied;
        for (const std::string& vdi : step.emptied)
            if (const std::size_t place = index.find(vdi); place != PlanIndex::none)
                emptied += index.node(place).physical_size;
        const Bytes give = emptied + released;
        const Bytes take = step.space_needed + consumed;
        released = minus_floor(give, take);
        consumed = minus_floor(take, give);
    }
    return needed;
}

} // namespace coppice
