#include "coalesce/verify.h"

#include "format/base/error.h"
#include "format/check.h"

#include <algorithm>

namespace coppice {
namespace {

constexpr Bytes window_size = 128_MiB;
constexpr Bytes compare_size = 1_MiB;

void require_sound(const Image& target) {
    const CheckReport report = check_image(target.device(), target.format(), CheckDepth::metadata);
    if (report.verdict == Verdict::ok || report.verdict == Verdict::leaks) return;
    throw CorruptImage{target.name(), "after the merge the check finds: " +
                                          (report.findings.empty() ? std::string{to_string(report.verdict)}
                                                                   : report.findings.front().text)};
}

/// The first byte of `guest` that no run of `map` covers; guest.end when all are.
Bytes first_gap(ByteRange guest, const std::vector<MapRun>& map) {
    Bytes at = guest.begin;
    auto run = std::ranges::partition_point(map, [&](const MapRun& r) { return r.guest.end <= at; });
    while (run != map.end() && run->guest.begin <= at && at < guest.end) {
        at = std::max(at, run->guest.end);
        ++run;
    }
    return std::min(at, guest.end);
}

/// Whether a guest would read zeros in `gap` through an image that does not map it.
bool shows_zeros(const GuestView& beneath, ByteRange gap) {
    if (!beneath.may_hold_data(gap)) return true;
    std::vector<std::byte> buffer(compare_size.count());
    for (Bytes at = gap.begin; at < gap.end;) {
        const Bytes length = std::min(compare_size, gap.end - at);
        const auto part = std::span{buffer}.first(length.count());
        beneath.read(at, part);
        if (!all_zero(part)) return false;
        at += length;
    }
    return true;
}

/// Where the target lacks a part of `run`.
std::optional<Bytes> missing(const MergePass& pass, const ChainRun& run, const std::vector<MapRun>& map) {
    Bytes at = run.guest.begin;
    while ((at = first_gap({at, run.guest.end}, map)) < run.guest.end) {
        const auto next = std::ranges::partition_point(map, [&](const MapRun& r) { return r.guest.end <= at; });
        const Bytes gap_end = next == map.end() ? run.guest.end : std::min(run.guest.end, next->guest.begin);
        // Zeros may stay unsaid where nothing else shines through.
        if (run.content != Content::zero || !shows_zeros(pass.beneath.after, {at, gap_end})) return at;
        at = gap_end;
    }
    return std::nullopt;
}

/// The first place of `part` where a guest reads something else from `target` than from the sources.
std::optional<Bytes> difference(const MergePass& pass, const Image& target, ByteRange part) {
    std::vector<std::byte> expected(compare_size.count());
    std::vector<std::byte> found(compare_size.count());
    const ChainView view{{&target}};
    for (Bytes at = part.begin; at < part.end;) {
        const Bytes length = std::min(compare_size, part.end - at);
        const auto expected_part = std::span{expected}.first(length.count());
        const auto found_part = std::span{found}.first(length.count());
        ChainView{pass.sources}.read(at, expected_part);
        view.read(at, found_part);
        if (!std::ranges::equal(expected_part, found_part)) return at;
        at += length;
    }
    return std::nullopt;
}

/// The same for what the sources say about `run`: zeros can only be wrong where the target maps data.
std::optional<Bytes> difference(const MergePass& pass, const Image& target, const ChainRun& run,
                                const std::vector<MapRun>& map) {
    if (run.content != Content::zero) return difference(pass, target, run.guest);
    for (const MapRun& mapped : map) {
        const ByteRange part{std::max(mapped.guest.begin, run.guest.begin), std::min(mapped.guest.end, run.guest.end)};
        if (mapped.content == Content::zero || part.begin >= part.end) continue;
        if (const auto place = difference(pass, target, part)) return place;
    }
    return std::nullopt;
}

} // namespace

std::optional<Bytes> first_missing(const MergePass& pass, const Image& target, std::stop_token stop) {
    for (Bytes cursor; const auto next = next_composite(pass.sources, cursor, pass.end);) {
        if (stop.stop_requested()) throw StopRequested{};
        const ByteRange window{*next, std::min(pass.end, *next + window_size)};
        cursor = window.end;
        const auto map = target.map(window);
        for (const ChainRun& run : source_runs(pass, window))
            if (const auto place = missing(pass, run, map)) return place;
    }
    return std::nullopt;
}

void verify_merge(const MergePass& original, const Image& target, VerifyDepth depth, std::stop_token stop) {
    require_sound(target);
    if (target.virtual_size() < original.end)
        throw CorruptImage{target.name(), "is smaller than its source after the merge"};
    if (const auto place = first_missing(original, target, stop))
        throw CorruptImage{target.name(),
                           "guest bytes from " + std::to_string(place->count()) + " are missing after the merge"};
    if (depth != VerifyDepth::data) return;
    if (const auto place = first_difference(original, target, stop))
        throw CorruptImage{target.name(), "guest bytes from " + std::to_string(place->count()) +
                                              " differ from the source after the merge"};
}

std::optional<Bytes> first_difference(const MergePass& pass, const Image& target, std::stop_token stop) {
    // What an older source says is masked where the target had its own word; that cannot be told apart here.
    if (pass.rank != MergePass::Rank::newer) return std::nullopt;
    for (Bytes cursor; const auto next = next_composite(pass.sources, cursor, pass.end);) {
        if (stop.stop_requested()) throw StopRequested{};
        const ByteRange window{*next, std::min(pass.end, *next + window_size)};
        cursor = window.end;
        const auto map = target.map(window);
        for (const ChainRun& run : source_runs(pass, window))
            if (const auto place = difference(pass, target, run, map)) return place;
    }
    return std::nullopt;
}

} // namespace coppice
