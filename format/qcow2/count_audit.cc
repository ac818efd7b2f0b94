#include "format/qcow2/count_audit.h"

#include "format/base/data_mover.h"
#include "format/base/error.h"
#include "format/qcow2/metadata_walk.h"

#include <algorithm>
#include <optional>

namespace coppice::qcow2 {
namespace {

// Bounds the memory for an image that is nothing but leaks. Those beyond stay leaks.
constexpr std::size_t most_corrections = 1U << 20;

class Auditor {
public:
    explicit Auditor(const BlockDevice& device)
        : layer_{device}, walk_{layer_, findings_, CheckDepth::metadata}, dirty_{
                                                                              (layer_.header().incompatible_features &
                                                                               disk::incompatible_dirty) != 0} {}

    CountAudit run() {
        expect_sound();
        expect_distinct_blocks();
        ReferenceCounts counts;
        for (ClusterNumber begin;; begin = counts.end()) {
            counts.begin(begin);
            walk_.count(counts);
            expect_sound();
            compare(counts, begin);
            if (counts.finished()) return std::move(audit_);
        }
    }

private:
    /// Part of the range of one page of `counts`.
    static constexpr std::uint64_t stretch = ReferenceCounts::clusters_per_page;

    [[noreturn]] void corrupt(Bytes place, const std::string& expectation) const {
        throw CorruptImage{layer_.device().name(), place, expectation};
    }

    void expect_sound() {
        if (findings_.worst() < Effect::damaged) return;
        const auto found = findings_.take();
        throw CorruptImage{layer_.device().name(), found.front().offset.value_or(0_B), found.front().text};
    }

    /// Else a small file could make us read for ever.
    void expect_distinct_blocks() const {
        std::vector<std::uint64_t> blocks = walk_.refcount_table();
        std::erase(blocks, 0);
        std::ranges::sort(blocks);
        const auto twice = std::ranges::adjacent_find(blocks);
        if (twice != blocks.end()) corrupt(Bytes{*twice}, "each refcount block to be used once");
    }

    void compare(const ReferenceCounts& counts, ClusterNumber begin) {
        const Header& header = layer_.header();
        const std::uint64_t per_block = header.refcounts_per_block();
        const auto& table = walk_.refcount_table();
        std::vector<std::byte> block(header.cluster_size().count());
        std::uint64_t at = begin.count();
        for (std::uint64_t index = at / per_block; index < table.size() && ClusterNumber{at} < counts.end(); ++index) {
            const std::uint64_t block_end = std::min(counts.end().count(), (index + 1) * per_block);
            if (table[index] != 0) {
                layer_.device().read_padded(Bytes{table[index]}, block);
                compare_block(counts, block, index * per_block, {at, block_end});
            } else {
                compare_uncounted(counts, {at, block_end});
            }
            at = block_end;
        }
        if (ClusterNumber{at} < counts.end()) compare_uncounted(counts, {at, counts.end().count()});
    }

    struct Range {
        std::uint64_t begin;
        std::uint64_t end;
    };

    void compare_block(const ReferenceCounts& counts, std::span<const std::byte> block, std::uint64_t first,
                       Range range) {
        const unsigned order = layer_.header().refcount_order;
        for (std::uint64_t at = range.begin; at < range.end;) {
            const std::uint64_t end = std::min(range.end, (at / stretch + 1) * stretch);
            // Most stretches of a block with many narrow counts lie behind the end of the image.
            const auto next = counts.next(ClusterNumber{at});
            const std::uint64_t bits = std::uint64_t{1} << order;
            const auto stored = block.subspan((at - first) * bits / 8, ((end - at) * bits + 7) / 8);
            if ((!next || *next >= ClusterNumber{end}) && all_zero(stored)) {
                at = end;
                continue;
            }
            for (; at < end; ++at)
                judge(at, decode_refcount(block, at - first, order), counts.of(ClusterNumber{at}));
        }
    }

    void compare_uncounted(const ReferenceCounts& counts, Range range) {
        std::uint64_t at = range.begin;
        while (const auto next = counts.next(ClusterNumber{at})) {
            if (next->count() >= range.end) return;
            at = std::min(range.end, (next->count() / stretch + 1) * stretch);
            for (std::uint64_t cluster = next->count(); cluster < at; ++cluster)
                judge(cluster, 0, counts.of(ClusterNumber{cluster}));
        }
    }

    void judge(std::uint64_t number, std::uint64_t stored, const ReferenceCounts::Cluster& used) {
        if (stored == 0 && used.count == 0) return;
        const Bytes place = layer_.header().cluster_size() * number;
        audit_.end = ClusterNumber{number + 1};
        if (used.overlap()) corrupt(place, "a cluster that serves one purpose");
        if (used.named_twice()) {
            if (stored < used.count) corrupt(place, "a cluster that one entry names");
            throw Unsupported{layer_.device().name(),
                              "entries share the cluster at byte " + std::to_string(place.count())};
        }
        if (stored < used.count && !dirty_) corrupt(place, "a count of " + std::to_string(used.count));
        const std::uint64_t right =
            stored > used.count && used.count == 1 && used.flagged_shared() ? stored : used.count;
        if (used.flagged_copied() && (dirty_ ? right : stored) != 1)
            corrupt(place, "a COPIED flag only on a cluster used once");
        if (used.flagged_shared() && right == 1) corrupt(place, "a COPIED flag on a cluster used once");
        if (right != stored) correct(number, right, right > stored);
    }

    void correct(std::uint64_t number, std::uint64_t count, bool raised) {
        auto& corrections = audit_.corrections;
        if (!corrections.empty()) {
            CountCorrection& last = corrections.back();
            if (last.clusters.end() == ClusterNumber{number} && last.count == count) {
                ++last.clusters.count;
                return;
            }
        }
        if (corrections.size() < most_corrections)
            corrections.push_back({{ClusterNumber{number}, 1}, count});
        else if (raised)
            throw Unsupported{layer_.device().name(), "too many counts to rebuild"};
    }

    Layer layer_;
    Findings findings_;
    MetadataWalk walk_;
    bool dirty_;
    CountAudit audit_;
};

} // namespace

CountAudit audit_counts(const BlockDevice& device) {
    return Auditor{device}.run();
}

} // namespace coppice::qcow2
