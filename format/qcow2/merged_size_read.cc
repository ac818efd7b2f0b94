// The reading half of merged_size.h.
#include "format/base/error.h"
#include "format/base/log.h"
#include "format/qcow2/count_audit.h"
#include "format/qcow2/l2_entry.h"
#include "format/qcow2/merged_size.h"

#include <algorithm>

namespace coppice::qcow2 {
namespace {

// As many free stretches as Allocator remembers.
constexpr std::size_t most_free_stretches = 1U << 16;

class HostReader {
public:
    /// `leaks`: ascending.
    HostReader(const Layer& layer, std::vector<ClusterRun> leaks)
        : layer_{layer}, order_{layer.header().refcount_order}, leaks_{std::move(leaks)} {
        map_.cluster_size = layer.header().cluster_size();
        map_.refcount_order = order_;
    }

    HostMap read() {
        const Header& header = layer_.header();
        const Bytes table_size = map_.cluster_size * header.refcount_table_clusters;
        if (table_size.count() / 8 > Refcounts::most_table_entries)
            throw CorruptImage{layer_.device().name(), header.refcount_table_offset,
                               "a refcount table of at most 8 MiB"};
        const auto table = layer_.read_words(header.refcount_table_offset, table_size.count() / 8);
        map_.blocks.resize(table.size());
        for (std::uint64_t block = 0; block < table.size(); ++block) {
            if (table[block] == 0) continue;
            if (!is_aligned(Bytes{table[block]}, map_.cluster_size) || Bytes{table[block]} >= layer_.limit())
                throw CorruptImage{layer_.device().name(), header.refcount_table_offset + Bytes{block * 8},
                                   "a refcount block at a multiple of the cluster size inside the file"};
            map_.blocks[block] = true;
            read_block(block, Bytes{table[block]});
        }
        return std::move(map_);
    }

private:
    void read_block(std::uint64_t block, Bytes offset) {
        std::vector<std::byte> bytes(map_.cluster_size.count());
        layer_.device().read_padded(offset, bytes);
        const std::uint64_t first = block * map_.per_block();
        for (std::uint64_t index = 0; index < map_.per_block(); ++index) {
            if (decode_refcount(bytes, index, order_) == 0) continue;
            const ClusterNumber used{first + index};
            map_.counted_end = used + ClusterNumber{1};
            if (is_leaked(used)) {
                ++map_.leaked;
                continue;
            }
            if (map_.end < used && map_.free.size() < most_free_stretches)
                map_.free[map_.end] = (used - map_.end).count();
            map_.end = used + ClusterNumber{1};
        }
    }

    /// Asked in ascending order.
    bool is_leaked(ClusterNumber cluster) {
        while (next_leak_ < leaks_.size() && leaks_[next_leak_].end() <= cluster)
            ++next_leak_;
        return next_leak_ < leaks_.size() && leaks_[next_leak_].first <= cluster;
    }

    const Layer& layer_;
    unsigned order_;
    std::vector<ClusterRun> leaks_;
    std::size_t next_leak_ = 0;
    HostMap map_;
};

/// What is counted and used by nothing, as a killed merge leaves it: the next one begins by giving it back.
std::vector<ClusterRun> leaks_of(const Layer& layer) {
    std::vector<ClusterRun> leaks;
    try {
        for (const CountCorrection& correction : audit_counts(layer.device()).corrections)
            if (correction.count == 0) leaks.push_back(correction.clusters);
    } catch (const Error& error) { // nobody will write to it; its size is asked all the same
        log::debug("format", layer.device().name() + ": leaks are not known: " + error.what());
    }
    return leaks;
}

class GuestReader {
public:
    GuestReader(const Layer& layer, std::size_t most)
        : layer_{layer}, most_{most}, rules_{L2Rules::of(layer.header(), layer.limit())} {}

    GuestClusters read() {
        const auto l1 = layer_.l1_table();
        result_.tables.resize(l1.size());
        for (std::uint64_t index = 0; index < l1.size(); ++index) {
            const auto table = layer_.l2_table_offset(index);
            if (!table) continue;
            // One that others may use as well is replaced when it changes.
            result_.tables[index] = (l1[index] & disk::copied_flag) != 0;
            read_table(*table, layer_.header().l2_covers() * index);
        }
        return std::move(result_);
    }

private:
    void read_table(Bytes offset, Bytes covers_from) {
        const auto words = layer_.l2_table(offset);
        const std::uint64_t step = rules_.extended ? 2 : 1;
        for (std::uint64_t at = 0; at < words.size(); at += step) {
            const L2Entry entry = decode_l2_entry(words[at], rules_.extended ? words[at + 1] : 0, rules_);
            if (entry.defect)
                throw CorruptImage{layer_.device().name(), offset + Bytes{at * 8},
                                   std::string{entry.defect->expectation}};
            add_entry(entry, covers_from + rules_.cluster_size() * (at / step));
        }
    }
    void add_entry(const L2Entry& entry, Bytes guest) {
        const ByteRange cluster = ByteRange::at(guest, rules_.cluster_size());
        if (entry.compressed)
            add(result_.compressed, cluster);
        else if (entry.host != 0_B && entry.copied)
            add(result_.own, cluster);
        if (cluster.contains(layer_.header().virtual_size()) && guest < layer_.header().virtual_size()) {
            const std::uint64_t before = units_needed(layer_.header().virtual_size() - guest, rules_.unit_size());
            const std::uint64_t bits = (std::uint64_t{1} << before) - 1;
            result_.border_stays = (entry.data_units & bits) != 0;
        }
        for (unsigned unit = 0; entry.zero_units != 0 && unit < rules_.units(); ++unit)
            if ((entry.zero_units & (std::uint32_t{1} << unit)) != 0)
                add(result_.zeros, ByteRange::at(guest + rules_.unit_size() * unit, rules_.unit_size()));
    }
    /// What is left out counts as absent, which makes the result larger.
    void add(RangeList& list, ByteRange range) {
        const bool joins = !list.empty() && list.back().end == range.begin;
        if (list.size() < most_ || joins)
            add_range(list, range);
        else if (&list == &result_.compressed)
            result_.all_compressed = false;
    }

    const Layer& layer_;
    std::size_t most_;
    L2Rules rules_;
    GuestClusters result_;
};

} // namespace

std::unique_ptr<const TargetSpace> merged_size(const Layer& layer, std::size_t most_ranges) {
    return std::make_unique<MergedSize>(layer.header(), HostReader{layer, leaks_of(layer)}.read(),
                                        GuestReader{layer, most_ranges}.read());
}

} // namespace coppice::qcow2
