#include "coalesce/slices.h"

#include <algorithm>

namespace coppice {
namespace {

GuestMap restricted(const GuestMap& map, const RangeList& stretches) {
    GuestMap result;
    auto stretch = stretches.begin();
    for (const GuestRun& run : map) {
        while (stretch != stretches.end() && stretch->end <= run.guest.begin)
            ++stretch;
        for (auto next = stretch; next != stretches.end() && next->begin < run.guest.end; ++next) {
            GuestRun part = run;
            part.guest = intersection(run.guest, *next);
            append(result, part);
        }
    }
    return result;
}

Bytes minus_floor(Bytes a, Bytes b) {
    return a > b ? a - b : 0_B;
}

} // namespace

Bytes most_of_slice(Bytes unit) {
    return unit * 256;
}

Slices::State Slices::begin() const {
    const Bytes end = round_up(pair_.tail.end_without({}), pair_.unit);
    return {{}, std::min(end, pair_.source_volume), pair_.target_volume};
}

Bytes Slices::whole() const {
    return target_with({{0_B, std::max(pair_.virtual_size, pair_.source.virtual_size)}}, pair_.target_volume);
}

Bytes Slices::target_with(const RangeList& moved, Bytes at_least) const {
    const GuestMap map = restricted(pair_.source.map, moved);
    const MappedLayer part{map, pair_.source.virtual_size};
    MergeInput merge;
    if (pair_.direction == Direction::down) {
        merge = poured_down({&part, 1}, pair_.below);
        merge.virtual_size = pair_.virtual_size;
    } else {
        merge = pulled_up(pair_.virtual_size, {&part, 1}, pair_.below);
        // All of the source lies under the target while it is written to, not only this part.
        const MergeInput all = pulled_up(pair_.virtual_size, {&pair_.source, 1}, pair_.below);
        merge.beneath = merge.beneath_now = all.beneath_now;
    }
    return std::max(at_least, round_up(pair_.space.end_after(merge), pair_.unit));
}

std::optional<Slices::State> Slices::shortened(const State& from, std::uint64_t units) const {
    const Bytes goal = minus_floor(from.source, pair_.unit * units);
    State state;
    state.moved = pair_.tail.beyond(goal);
    state.source = round_up(pair_.tail.end_without(state.moved), pair_.unit);
    if (state.source >= from.source) return std::nullopt;
    state.target = target_with(state.moved, from.target);
    return state;
}

std::variant<Slices::State, std::optional<Bytes>> Slices::next(const State& from, Bytes room) const {
    const Bytes growth = std::min(room, most_of_slice(pair_.unit));
    const std::uint64_t most = from.source / pair_.unit;
    std::uint64_t units = 1;
    std::optional<State> best;
    for (; units <= most && !(best = shortened(from, units)); units *= 2) {
    }
    if (!best) return std::optional<Bytes>{};
    if (best->target - from.target > growth) {
        // What was found by doubling may be more than the least that shortens it.
        for (std::uint64_t less = units / 2 + 1; less < units; ++less)
            if (auto state = shortened(from, less)) {
                best = std::move(state);
                break;
            }
        if (best->target - from.target > room) return std::optional{best->target - from.target};
        return *best; // however large: what has to leave at one go cannot be cut further
    }
    std::uint64_t fits = units;
    std::uint64_t too_many = 0;
    while (fits < most && too_many == 0) {
        const std::uint64_t more = std::min(fits * 2, most);
        auto state = shortened(from, more);
        if (state && state->target - from.target <= growth) {
            best = std::move(state);
            fits = more;
        } else {
            too_many = more;
        }
    }
    while (too_many > fits + 1) {
        const std::uint64_t middle = fits + (too_many - fits) / 2;
        auto state = shortened(from, middle);
        if (state && state->target - from.target <= growth) {
            best = std::move(state);
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    return *best;
}

namespace {

/// The same account for every way of going through the slices.
class Walk {
public:
    Walk(const Slices& slices, const SlicedPair& pair, Bytes free)
        : slices_{slices}, pair_{pair}, free_{free}, whole_{slices.whole()}, state_{slices.begin()} {}

    std::variant<SlicesFit, SlicesLack> exactly() {
        while (!rest_fits()) {
            const auto next = slices_.next(state_, free_now());
            if (const auto* needed = std::get_if<std::optional<Bytes>>(&next)) return lack(*needed);
            go_to(std::get<Slices::State>(next));
        }
        return fit();
    }

    /// Looks closely only at `places` states, and takes it that between them things are alike. A merge that turns out
    /// to be less lucky stops where it lacks room, and has lost nothing.
    std::variant<SlicesFit, SlicesLack> at_places(std::uint64_t places) {
        const std::uint64_t step = std::max<std::uint64_t>(1, state_.source / pair_.unit / places);
        while (!rest_fits()) {
            const auto smallest = slices_.next(state_, 0_B);
            const auto* needed = std::get_if<std::optional<Bytes>>(&smallest);
            if (needed != nullptr && (!*needed || **needed > free_now())) return lack(*needed);
            const Bytes least = needed != nullptr ? **needed : 0_B;
            note_peak(state_.source, state_.target + std::max(least, slice()));
            std::optional<Slices::State> after;
            for (std::uint64_t units = step; !after && units <= state_.source / pair_.unit; units *= 2)
                after = slices_.shortened(state_, units);
            if (!after) return lack(std::nullopt);
            state_ = *after; // by many slices, none of which uses more than the one above
        }
        return fit();
    }

private:
    Bytes free_now() const {
        return minus_floor(free_ + (pair_.source_volume - state_.source), state_.target - pair_.target_volume);
    }
    Bytes slice() const { return std::min(free_now(), most_of_slice(pair_.unit)); }
    /// Slices may leave a target that is larger than one merge would: what each of them has split counts for itself.
    Bytes rest() const { return minus_floor(whole_, state_.target); }
    bool rest_fits() const { return rest() <= free_now(); }

    void note_peak(Bytes source, Bytes target) {
        peak_ = std::max(peak_, minus_floor(target - pair_.target_volume, pair_.source_volume - source));
    }
    void go_to(const Slices::State& after) {
        note_peak(state_.source, after.target);
        state_ = after;
    }
    SlicesFit fit() {
        note_peak(state_.source, whole_);
        return {peak_};
    }
    SlicesLack lack(std::optional<Bytes> needed) const { return {minus_floor(needed.value_or(rest()), free_now())}; }

    const Slices& slices_;
    const SlicedPair& pair_;
    Bytes free_;
    Bytes whole_;
    Slices::State state_;
    Bytes peak_;
};

// Up to so many extents every slice is gone through; the time for that grows with the square of it.
constexpr std::uint64_t most_exact = 1024;
constexpr std::uint64_t places = 128;

} // namespace

std::variant<SlicesFit, SlicesLack> walk(const Slices& slices, const SlicedPair& pair, Bytes free) {
    Walk walk{slices, pair, free};
    return pair.source_volume / pair.unit <= most_exact ? walk.exactly() : walk.at_places(places);
}

} // namespace coppice
