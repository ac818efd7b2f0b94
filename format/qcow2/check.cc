#include "format/qcow2/check.h"

#include "format/base/error.h"
#include "format/qcow2/data_file_check.h"
#include "format/qcow2/metadata_walk.h"
#include "format/qcow2/parent_reference.h"
#include "format/qcow2/refcounts.h"

#include <algorithm>

namespace coppice::qcow2 {
namespace {

/// Compares counted references with stored counts, and COPIED flags with both.
class CountComparison {
public:
    CountComparison(const Layer& layer, Findings& findings, const std::vector<std::uint64_t>& table)
        : layer_{layer}, findings_{findings}, table_{table}, cluster_size_{layer.header().cluster_size()},
          per_block_{layer.header().refcounts_per_block()}, file_clusters_{layer.limit() / cluster_size_},
          block_(cluster_size_.count()) {}

    /// All clusters in [begin, counts.end()).
    void compare(const ReferenceCounts& counts, ClusterNumber begin) {
        const std::uint64_t end = counts.end().count();
        std::uint64_t at = begin.count();
        for (std::uint64_t index = at / per_block_; index < table_.size() && at < end; ++index) {
            const std::uint64_t block_end = std::min(end, (index + 1) * per_block_);
            if (table_[index] == 0)
                compare_uncounted(counts, at, block_end);
            else
                compare_block(counts, index, at, std::min(block_end, std::max(at, file_clusters_)));
            at = std::max(at, block_end);
        }
        if (at < end) compare_uncounted(counts, at, end);
        if (counts.finished()) end_leak();
    }

private:
    void compare_block(const ReferenceCounts& counts, std::uint64_t index, std::uint64_t from, std::uint64_t to) {
        if (from >= to) return;
        layer_.device().read_padded(Bytes{table_[index]}, block_);
        const unsigned order = layer_.header().refcount_order;
        for (std::uint64_t cluster = from; cluster < to; ++cluster)
            judge(cluster, decode_refcount(block_, cluster - index * per_block_, order),
                  counts.of(ClusterNumber{cluster}));
    }

    /// Where no refcount block stands, all stored counts are 0.
    void compare_uncounted(const ReferenceCounts& counts, std::uint64_t from, std::uint64_t to) {
        while (const auto next = counts.next(ClusterNumber{from})) {
            if (next->count() >= to) break;
            const std::uint64_t page = next->count() / ReferenceCounts::clusters_per_page;
            from = std::min(to, (page + 1) * ReferenceCounts::clusters_per_page);
            for (std::uint64_t cluster = next->count(); cluster < from; ++cluster)
                judge(cluster, 0, counts.of(ClusterNumber{cluster}));
        }
    }

    void judge(std::uint64_t number, std::uint64_t stored, const ReferenceCounts::Cluster& cluster) {
        if (stored == 0 && cluster.count == 0) return;
        const Bytes place = cluster_size_ * number;
        const std::string counts =
            "counted " + std::to_string(stored) + " times, used " + std::to_string(cluster.count) + " times";
        if (cluster.overlap())
            findings_.add(Effect::unreadable, "overlap", place,
                          "a cluster serves two purposes that exclude each other");
        if (stored < cluster.count) {
            if (cluster.named_twice())
                findings_.add(Effect::unreadable, "cluster-used-twice", place, counts);
            else
                findings_.add(Effect::damaged, "refcount-too-low", place, counts);
        }
        if (cluster.flagged_copied() && stored != 1)
            findings_.add(Effect::damaged, "copied-flag-wrong", place, "flagged as used once, " + counts);
        if (cluster.flagged_shared() && stored == 1)
            findings_.add(Effect::damaged, "copied-flag-missing", place, "not flagged as used once, " + counts);
        if (stored > cluster.count) add_leak(number);
    }

    /// Neighbouring leaks are one finding.
    void add_leak(std::uint64_t number) {
        if (leak_length_ != 0 && leak_begin_ + leak_length_ == number) {
            ++leak_length_;
            return;
        }
        end_leak();
        leak_begin_ = number;
        leak_length_ = 1;
    }
    void end_leak() {
        if (leak_length_ == 0) return;
        findings_.add(Effect::leak, "leaked-clusters", cluster_size_ * leak_begin_,
                      std::to_string(leak_length_) + " clusters are counted more often than they are used");
        leak_length_ = 0;
    }

    const Layer& layer_;
    Findings& findings_;
    const std::vector<std::uint64_t>& table_;
    Bytes cluster_size_;
    std::uint64_t per_block_;
    std::uint64_t file_clusters_;
    std::vector<std::byte> block_;
    std::uint64_t leak_begin_ = 0;
    std::uint64_t leak_length_ = 0;
};

/// What a sound image must not have to take part in a merge.
struct Refusal {
    std::string reason;
    bool readable = true;
};

bool names_a_protocol(const std::string& name) {
    const auto colon = name.find(':');
    return colon != std::string::npos && colon < name.find('/');
}

std::optional<Refusal> refusal(const Header& header, Findings& findings) {
    std::optional<Refusal> result;
    const auto refuse = [&](const char* reason, bool readable, const char* code, std::string text) {
        if (!result) result = Refusal{reason, true};
        result->readable = result->readable && readable;
        findings.add(Effect::remark, code, std::nullopt, std::move(text));
    };
    if ((header.incompatible_features & disk::incompatible_corrupt) != 0)
        refuse("image-damaged", true, "corrupt-bit", "marked as corrupt by a program that used it");
    if (header.backing_file && names_a_protocol(*header.backing_file))
        refuse("unsupported-feature", false, "parent-protocol",
               "the parent is named by a protocol: " + *header.backing_file);
    if (header.backing_file && (!header.backing_format() || header.backing_format()->empty()))
        refuse("unsupported-feature", true, "parent-format-missing", "the format of the parent is not recorded");
    try {
        parent_reference(header, "");
    } catch (const Unsupported&) {
        refuse("unsupported-feature", false, "parent-format-unknown",
               "the format of the parent is none of ours: " + *header.backing_format());
    }
    if (header.data_file)
        refuse("unsupported-feature", true, "data-file", "guest data stands in another file: " + *header.data_file);
    if (header.nb_snapshots != 0)
        refuse("unsupported-feature", true, "internal-snapshots",
               std::to_string(header.nb_snapshots) + " internal snapshots share clusters with the disk");
    if ((header.autoclear_features & disk::autoclear_bitmaps) != 0 &&
        header.extension(disk::extension_bitmaps) == nullptr)
        refuse("unsupported-feature", true, "bitmaps-missing", "the bitmaps bit is set without bitmaps");
    if ((header.incompatible_features & disk::incompatible_dirty) != 0)
        findings.add(Effect::remark, "dirty-bit", std::nullopt, "counts may be out of date");
    return result;
}

CheckReport not_opened(const Error& error, const char* reason) {
    CheckReport report;
    report.verdict = Verdict::unsupported;
    report.readable = false;
    report.mergeable = false;
    report.reason = reason;
    report.findings.push_back({"header", std::nullopt, error.what()});
    return report;
}

void check_counts(const Layer& layer, Findings& findings, CheckDepth depth) {
    MetadataWalk walk{layer, findings, depth};
    ReferenceCounts counts;
    CountComparison comparison{layer, findings, walk.refcount_table()};
    for (ClusterNumber begin;; begin = counts.end()) {
        counts.begin(begin);
        walk.count(counts);
        comparison.compare(counts, begin);
        if (counts.finished()) return;
    }
}

CheckReport check_layer(const Layer& layer, CheckDepth depth) {
    Findings findings;
    const auto refused = refusal(layer.header(), findings);
    check_counts(layer, findings, depth);
    check_data_places(layer, findings);
    CheckReport report;
    if (refused) {
        report.verdict = Verdict::unsupported;
        report.readable = refused->readable;
        report.mergeable = false;
        report.reason = refused->reason;
    }
    if (findings.worst() >= Effect::damaged) {
        report.verdict = Verdict::corrupt;
        report.readable = report.readable && findings.worst() < Effect::unreadable;
        report.mergeable = false;
        report.reason = "image-damaged";
    } else if (findings.worst() == Effect::leak && !refused) {
        report.verdict = Verdict::leaks;
    }
    report.findings = findings.take();
    return report;
}

} // namespace

CheckReport check(const BlockDevice& device, CheckDepth depth) {
    std::optional<Layer> layer;
    try {
        layer.emplace(device);
    } catch (const CorruptImage& error) {
        return not_opened(error, "image-damaged");
    } catch (const Unsupported& error) {
        return not_opened(error, "unsupported-feature");
    }
    return check_layer(*layer, depth);
}

} // namespace coppice::qcow2
