#include "gc/sm/sm_evidence.h"

#include "coalesce/images.h"
#include "format/base/data_mover.h"
#include "format/base/error.h"
#include "gc/scan/scan.h"

#include <algorithm>

namespace coppice {
namespace {

constexpr Bytes window_size = 128_MiB;
constexpr Bytes compare_size = 1_MiB;

/// Calls `visit` with each run of `top` below `end`, zeros behind its end included, until it returns a place.
template <class Visit>
std::optional<Bytes> first_in_runs(const Image& top, Bytes end, std::stop_token stop, Visit visit) {
    const Image* const layers[] = {&top};
    for (Bytes cursor; const auto next = next_composite(layers, cursor, end);) {
        const ByteRange window{*next, std::min(end, *next + window_size)};
        cursor = window.end;
        for (const ChainRun& run : composite_map(layers, window)) {
            if (stop.stop_requested()) throw StopRequested{};
            if (const std::optional<Bytes> place = visit(run)) return place;
        }
    }
    return std::nullopt;
}

ChainRun part_of(const ChainRun& run, ByteRange guest) {
    ChainRun part = run;
    part.guest = guest;
    part.run.guest = guest;
    if (run.content == Content::data) part.run.host = run.run.host + (guest.begin - run.guest.begin);
    return part;
}

} // namespace

OpenChain::OpenChain(MergeContext& context, const SrTree& tree, const std::string& uuid) {
    const TreeNode& node = require_node(tree, uuid);
    images_.push_back(open_held(context, node, Access::read_only));
    for (auto& ancestor : open_ancestors(context, tree, uuid))
        images_.push_back(std::move(ancestor));
}

ChainView OpenChain::view() const {
    std::vector<const Image*> layers;
    for (const auto& image : images_)
        layers.push_back(image.get());
    return ChainView{std::move(layers)};
}

std::optional<Bytes> first_difference(const Image& top, const ChainView& beneath, std::stop_token stop) {
    std::vector<std::byte> expected(compare_size.count());
    std::vector<std::byte> found(compare_size.count());
    const Bytes end = std::max(top.virtual_size(), beneath.size());
    return first_in_runs(top, end, stop, [&](const ChainRun& run) -> std::optional<Bytes> {
        if (run.content == Content::zero && !beneath.may_hold_data(run.guest)) return std::nullopt;
        for (Bytes at = run.guest.begin; at < run.guest.end;) {
            if (stop.stop_requested()) throw StopRequested{};
            const Bytes length = std::min(compare_size, run.guest.end - at);
            const auto wanted = std::span{expected}.first(length.count());
            const auto shown = std::span{found}.first(length.count());
            read_run(part_of(run, ByteRange::at(at, length)), wanted);
            beneath.read(at, shown);
            const auto [left, right] = std::ranges::mismatch(wanted, shown);
            if (left != wanted.end()) return at + Bytes{static_cast<std::uint64_t>(left - wanted.begin())};
            at += length;
        }
        return std::nullopt;
    });
}

bool covered(const Image& top, const ChainView& by, std::stop_token stop) {
    const auto gap = first_in_runs(top, top.virtual_size(), stop, [&](const ChainRun& run) -> std::optional<Bytes> {
        if (run.content == Content::zero) return std::nullopt;
        Bytes at = run.guest.begin;
        for (const ChainRun& cover : composite_map(by.layers(), run.guest)) {
            if (cover.guest.begin > at) return at;
            at = std::max(at, cover.guest.end);
        }
        if (at < run.guest.end) return at;
        return std::nullopt;
    });
    return !gap;
}

bool names_parent(const Storage& storage, const Image& child, const std::string& uuid) {
    const auto reference = child.parent();
    if (!reference) return false;
    return std::ranges::any_of(
        reference->names, [&](const std::string& name) { return node_of_file(storage.object_named(name)) == uuid; });
}

bool verified_by_us(MergeContext& context, const Image& source, const std::string& vdi, const std::string& into) {
    const FileIdentity identity = source.device().identity();
    return std::ranges::any_of(context.journal.unfinished(), [&](const journal::Operation& operation) {
        return operation.state == journal::OperationState::relinking && operation.vdi == vdi &&
               operation.into == into && operation.direction == "down" && !operation.sources.empty() &&
               operation.sources.front().vdi == vdi && operation.sources.front().identity == identity;
    });
}

} // namespace coppice
