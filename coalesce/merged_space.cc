#include "coalesce/merged_space.h"

#include <algorithm>
#include <iterator>

namespace coppice {
namespace {

/// What the layers say together, up to `end`.
GuestMap composed(std::span<const MappedLayer> layers, Bytes end) {
    GuestMap result;
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
        result = overlay(layer->map, layer->virtual_size, result, end);
    return clipped(result, {0_B, end});
}

enum class Kind { data, zeros };

RangeList ranges(const GuestMap& map, Kind kind) {
    RangeList result;
    for (const GuestRun& run : map)
        if (run.zero == (kind == Kind::zeros)) add_range(result, run.guest);
    return result;
}

/// Every place where a layer begins or ceases to say zeros. What is no seam of the composite does no harm.
std::vector<Bytes> seams(std::span<const MappedLayer> layers, const RangeList& zeros) {
    std::vector<Bytes> result;
    for (const MappedLayer& layer : layers) {
        result.push_back(layer.virtual_size);
        for (const GuestRun& run : layer.map)
            if (run.zero) result.insert(result.end(), {run.guest.begin, run.guest.end});
    }
    std::ranges::sort(result);
    const auto inside = [&, at = zeros.begin()](Bytes place) mutable {
        while (at != zeros.end() && at->end <= place)
            ++at;
        return at != zeros.end() && at->begin < place;
    };
    std::vector<Bytes> kept;
    std::ranges::copy_if(result, std::back_inserter(kept), inside);
    return kept;
}

} // namespace

MergeInput poured_down(std::span<const MappedLayer> sources, std::span<const MappedLayer> below) {
    MergeInput merge;
    merge.rank = MergeInput::Rank::newer;
    merge.virtual_size = sources.front().virtual_size;
    const GuestMap written = composed(sources, merge.virtual_size);
    merge.data = ranges(written, Kind::data);
    merge.zeros = ranges(written, Kind::zeros);
    merge.seams = seams(sources, merge.zeros);
    merge.beneath = merge.beneath_now = ranges(composed(below, merge.virtual_size), Kind::data);
    return merge;
}

MergeInput pulled_up(Bytes target_size, std::span<const MappedLayer> sources, std::span<const MappedLayer> below) {
    MergeInput merge;
    merge.rank = MergeInput::Rank::older;
    merge.virtual_size = target_size;
    const GuestMap written = composed(sources, target_size);
    merge.data = ranges(written, Kind::data);
    merge.zeros = ranges(written, Kind::zeros);
    merge.seams = seams(sources, merge.zeros);
    merge.beneath = ranges(composed(below, target_size), Kind::data);
    merge.beneath_now = united(merge.data, merge.beneath);
    return merge;
}

} // namespace coppice
