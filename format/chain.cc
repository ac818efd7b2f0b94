#include "format/chain.h"

#include <algorithm>

namespace coppice {
namespace {

/// `run` reduced to `guest`, which lies inside it.
MapRun clipped(const MapRun& run, ByteRange guest) {
    MapRun result = run;
    result.guest = guest;
    if (run.content == Content::data) result.host = run.host + (guest.begin - run.guest.begin);
    return result;
}

/// Fills the gaps of `known` inside `window` with what `below` says. Both ascending and disjoint.
std::vector<ChainRun> overlay(const std::vector<ChainRun>& known, const std::vector<ChainRun>& below) {
    if (known.empty()) return below;
    std::vector<ChainRun> result;
    auto next = known.begin();
    for (const ChainRun& run : below) {
        Bytes at = run.guest.begin;
        while (at < run.guest.end) {
            while (next != known.end() && next->guest.end <= at)
                result.push_back(*next++);
            const Bytes end = next == known.end() ? run.guest.end : std::min(run.guest.end, next->guest.begin);
            if (at < end) {
                ChainRun part = run;
                part.guest = {at, end};
                if (run.content != Content::zero) part.run = clipped(run.run, part.guest);
                result.push_back(part);
            }
            at = std::max(end, next == known.end() ? end : next->guest.end);
        }
    }
    result.insert(result.end(), next, known.end());
    return result;
}

std::vector<ChainRun> runs_of(const Image& layer, ByteRange window) {
    std::vector<ChainRun> result;
    const ByteRange inside = intersection(window, {0_B, layer.virtual_size()});
    if (!inside.empty())
        for (const MapRun& run : layer.map(inside))
            result.push_back({run.guest, run.content, &layer, run});
    const ByteRange behind{std::max(window.begin, std::min(window.end, layer.virtual_size())), window.end};
    if (!behind.empty()) result.push_back({behind, Content::zero, nullptr, {}});
    return result;
}

} // namespace

std::vector<ChainRun> composite_map(std::span<const Image* const> layers, ByteRange window) {
    std::vector<ChainRun> result;
    for (const Image* layer : layers)
        result = overlay(result, runs_of(*layer, window));
    return result;
}

std::optional<Bytes> next_composite(std::span<const Image* const> layers, Bytes from, Bytes limit) {
    std::optional<Bytes> first;
    for (const Image* layer : layers) {
        // Behind its end a layer speaks zeros.
        Bytes at = std::max(from, layer->virtual_size());
        if (from < layer->virtual_size())
            if (const auto mapped = layer->next_mapped(from)) at = std::min(at, *mapped);
        if (!first || at < *first) first = at;
    }
    if (!first || *first >= limit) return std::nullopt;
    return first;
}

void read_run(const ChainRun& run, std::span<std::byte> buffer) {
    switch (run.content) {
    case Content::zero:
        std::ranges::fill(buffer, std::byte{0});
        break;
    case Content::data:
        run.layer->data_device().read_padded(run.run.host, buffer);
        break;
    case Content::compressed:
        run.layer->read_compressed(run.run, run.guest, buffer);
        break;
    }
}

Bytes ChainView::size() const {
    return layers_.empty() ? 0_B : layers_.front()->virtual_size();
}

void ChainView::read(Bytes offset, std::span<std::byte> buffer) const {
    std::ranges::fill(buffer, std::byte{0});
    for (const ChainRun& run : composite_map(layers_, ByteRange::at(offset, Bytes{buffer.size()})))
        if (run.content != Content::zero)
            read_run(run, buffer.subspan((run.guest.begin - offset).count(), run.guest.length().count()));
}

bool ChainView::may_hold_data(ByteRange range) const {
    return std::ranges::any_of(composite_map(layers_, range),
                               [](const ChainRun& run) { return run.content != Content::zero; });
}

} // namespace coppice
