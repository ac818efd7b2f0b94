#include "coalesce/layer_facts.h"

#include "format/base/error.h"

#include <optional>
#include <utility>

namespace coppice {
namespace {

// Bounds the number of runs that one call of map() returns, however fragmented the image is.
constexpr Bytes map_window = 256_MiB;
constexpr Bytes last_offset{~0ULL};

/// Collects runs, exactly as long as there are not too many.
class MapBuilder {
public:
    MapBuilder(Bytes size, std::size_t most_runs) : size_{size}, most_runs_{most_runs} {}

    void add(GuestRun run) {
        if (granule_) {
            const Bytes begin = round_down(run.guest.begin, *granule_);
            const Bytes end = std::min(size_, round_up(run.guest.end, *granule_));
            run = {{map_.empty() ? begin : std::max(begin, map_.back().guest.end), end}};
            if (run.guest.begin >= run.guest.end) return;
        }
        append(map_, run);
        while (map_.size() > most_runs_)
            coarsen();
    }
    GuestMap take() { return std::move(map_); }

private:
    void coarsen() {
        granule_ = granule_ ? 2 * *granule_ : 4_KiB;
        map_ = coarsened(map_, *granule_);
        map_.back().guest.end = std::min(map_.back().guest.end, size_);
    }

    Bytes size_;
    std::size_t most_runs_;
    std::optional<Bytes> granule_;
    GuestMap map_;
};

Bytes end_of_window(Bytes from, Bytes size) {
    return size - from > map_window ? from + map_window : size;
}

} // namespace

void append(GuestMap& map, GuestRun run) {
    if (run.guest.empty()) return;
    if (!map.empty()) {
        GuestRun& last = map.back();
        if (last.guest.end == run.guest.begin && last.zero == run.zero && last.compressed == run.compressed) {
            last.guest.end = run.guest.end;
            return;
        }
    }
    map.push_back(run);
}

LayerFacts layer_facts(const Image& image, CheckReport check, std::size_t most_runs) {
    LayerFacts facts{{}, image.target_shape(), std::move(check)};
    // Nobody asks what it maps, and a hostile map may be endless: one table under a million entries.
    if (!facts.check.mergeable) return facts;
    const Bytes size = image.virtual_size();
    MapBuilder map{size, most_runs};
    Bytes at;
    Bytes covered; // end of the last run
    while (at < size) {
        const auto next = image.next_mapped(at);
        if (!next || *next >= size) break;
        if (*next < at) throw CorruptImage{image.name(), "the map goes backwards"};
        const ByteRange window{*next, end_of_window(*next, size)};
        for (const MapRun& run : image.map(window)) {
            if (!window.contains(run.guest) || run.guest.begin < covered)
                throw CorruptImage{image.name(), "runs of the map overlap"};
            covered = run.guest.end;
            map.add({run.guest, run.content == Content::zero, run.content == Content::compressed});
        }
        at = window.end;
    }
    facts.map = map.take();
    return facts;
}

GuestMap clipped(const GuestMap& map, ByteRange window) {
    GuestMap result;
    for (const GuestRun& run : map) {
        if (run.guest.begin >= window.end) break;
        append(result, {intersection(run.guest, window), run.zero, run.compressed});
    }
    return result;
}

GuestMap without(const GuestMap& map, const GuestMap& by) {
    GuestMap result;
    std::size_t cut = 0;
    for (const GuestRun& run : map) {
        Bytes at = run.guest.begin;
        while (cut < by.size() && by[cut].guest.end <= at)
            ++cut;
        for (std::size_t next = cut; next < by.size() && by[next].guest.begin < run.guest.end; ++next) {
            if (by[next].guest.begin > at) append(result, {{at, by[next].guest.begin}, run.zero, run.compressed});
            at = std::max(at, by[next].guest.end);
            cut = next; // the next run may begin inside this one, but never before it
        }
        if (at < run.guest.end) append(result, {{at, run.guest.end}, run.zero, run.compressed});
    }
    return result;
}

GuestMap overlay(const GuestMap& newer, Bytes newer_size, const GuestMap& older, Bytes end) {
    const GuestMap top = clipped(newer, {0_B, newer_size});
    const GuestMap rest = without(clipped(older, {0_B, newer_size}), top);
    GuestMap result;
    for (std::size_t a = 0, b = 0; a < top.size() || b < rest.size();) {
        const bool take_top = b == rest.size() || (a < top.size() && top[a].guest.begin < rest[b].guest.begin);
        append(result, take_top ? top[a++] : rest[b++]);
    }
    if (newer_size < end) append(result, {{newer_size, end}, true});
    return result;
}

GuestMap coarsened(const GuestMap& map, Bytes unit) {
    GuestMap result;
    for (const GuestRun& run : map) {
        if (run.guest.empty()) continue;
        Bytes begin = round_down(run.guest.begin, unit);
        // Sizes come from headers: rounding up must not wrap.
        const Bytes end = last_offset - run.guest.end < unit ? last_offset : round_up(run.guest.end, unit);
        if (!result.empty()) begin = std::max(begin, result.back().guest.end);
        if (begin < end) append(result, {{begin, end}});
    }
    return result;
}

Bytes data_bytes(const GuestMap& map) {
    Bytes sum;
    for (const GuestRun& run : map)
        if (!run.zero) sum += run.guest.length();
    return sum;
}

} // namespace coppice
