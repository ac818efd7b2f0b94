#include "coalesce/merge_pass.h"

#include "format/base/error.h"

#include <algorithm>

namespace coppice {
namespace {

// Windows begin and end on multiples of this, so that no cluster of any target is split between two batches.
constexpr Bytes window_grain = 2_MiB;
// How much of the guest's disk one look at the maps covers.
constexpr Bytes window_size = 128_MiB;

/// `run` restricted to `guest`.
ChainRun clipped(const ChainRun& run, ByteRange guest) {
    ChainRun part = run;
    part.guest = guest;
    if (run.content == Content::data) part.run.host = run.run.host + (guest.begin - run.guest.begin);
    part.run.guest = guest;
    return part;
}

/// The parts of `runs` inside `stretches`. Both ascending and disjoint.
std::vector<ChainRun> within(const std::vector<ChainRun>& runs, const RangeList& stretches) {
    std::vector<ChainRun> result;
    for (const ChainRun& run : runs) {
        auto stretch =
            std::ranges::partition_point(stretches, [&](const ByteRange& s) { return s.end <= run.guest.begin; });
        for (; stretch != stretches.end() && stretch->begin < run.guest.end; ++stretch)
            result.push_back(clipped(run, intersection(run.guest, *stretch)));
    }
    return result;
}

/// The parts of `runs` that none of `covered` covers. Both ascending and disjoint.
std::vector<ChainRun> without(const std::vector<ChainRun>& runs, const std::vector<MapRun>& covered) {
    std::vector<ChainRun> result;
    auto cover = covered.begin();
    for (const ChainRun& run : runs) {
        Bytes at = run.guest.begin;
        while (cover != covered.end() && cover->guest.end <= at)
            ++cover;
        for (auto next = cover; at < run.guest.end; ++next) {
            const Bytes end = next == covered.end() ? run.guest.end : std::clamp(next->guest.begin, at, run.guest.end);
            if (at < end) result.push_back(clipped(run, {at, end}));
            if (next == covered.end()) break;
            at = std::max(end, next->guest.end);
        }
    }
    return result;
}

bool zeros_go_without_saying(const MergePass& pass, ByteRange guest) {
    if (pass.beneath.after.may_hold_data(guest)) return false;
    const ByteRange inside = intersection(guest, {0_B, pass.target.virtual_size()});
    return inside.empty() || pass.target.map(inside).empty();
}

/// Guest writes, and the memory that decompressed ones stand in.
struct Batch {
    std::vector<GuestWrite> writes;
    std::vector<std::vector<std::byte>> buffers;
    Bytes bytes; ///< of data; zeros are not counted

    void add(const ChainRun& run) {
        switch (run.content) {
        case Content::zero:
            writes.push_back({run.guest, GuestWrite::Source::zeros});
            return;
        case Content::data:
            writes.push_back({run.guest, GuestWrite::Source::device, &run.layer->data_device(), run.run.host});
            break;
        case Content::compressed:
            buffers.emplace_back(run.guest.length().count());
            read_run(run, buffers.back());
            writes.push_back({run.guest, GuestWrite::Source::memory, nullptr, 0_B, buffers.back()});
            break;
        }
        bytes += run.guest.length();
    }
};

/// Fills a batch with runs up to the limit, which is looked at only between grains; returns where the next batch
/// begins.
Bytes fill(Batch& batch, const std::vector<ChainRun>& runs, ByteRange window, Bytes limit) {
    Bytes stop_at = window.end;
    for (const ChainRun& run : runs) {
        if (run.guest.begin >= stop_at) break;
        if (run.content != Content::zero) {
            const Bytes room = batch.bytes < limit ? limit - batch.bytes : 0_B;
            if (run.guest.length() >= room) stop_at = std::min(stop_at, round_up(run.guest.begin + room, window_grain));
        }
        batch.add(clipped(run, {run.guest.begin, std::min(run.guest.end, stop_at)}));
    }
    return stop_at;
}

} // namespace

std::vector<ChainRun> source_runs(const MergePass& pass, ByteRange window) {
    std::vector<ChainRun> runs = composite_map(pass.sources, window);
    return pass.only == nullptr ? runs : within(runs, *pass.only);
}

std::vector<ChainRun> runs_to_write(const MergePass& pass, ByteRange window) {
    std::vector<ChainRun> runs = source_runs(pass, window);
    if (pass.rank == MergePass::Rank::older) {
        const ByteRange inside = intersection(window, {0_B, pass.target.virtual_size()});
        if (!inside.empty()) runs = without(runs, pass.target.map(inside));
    }
    std::erase_if(runs, [&](const ChainRun& run) {
        return run.content == Content::zero && zeros_go_without_saying(pass, run.guest);
    });
    return runs;
}

void run_merge_pass(const MergePass& pass, MergeTarget& target, DataMover& mover, Bytes cursor, std::stop_token stop,
                    const OnDurable& on_durable) {
    while (const auto next = next_composite(pass.sources, cursor, pass.end)) {
        if (stop.stop_requested()) throw StopRequested{};
        const Bytes begin = std::max(cursor, round_down(*next, window_grain));
        const ByteRange window{begin, std::min(pass.end, round_down(begin, window_grain) + window_size)};
        const auto runs = runs_to_write(pass, window);
        if (runs.empty()) { // nothing to say about this stretch: not worth a flush or a journal entry
            cursor = window.end;
            continue;
        }
        Batch batch;
        const Bytes end = fill(batch, runs, window, pass.batch);
        pass.around([&] { target.write(batch.writes, pass.beneath, mover); });
        on_durable(end, batch.bytes);
        cursor = end;
    }
}

} // namespace coppice
