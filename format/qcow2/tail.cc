#include "format/qcow2/tail.h"

#include "format/base/error.h"
#include "format/qcow2/l2_entry.h"

#include <algorithm>
#include <vector>

namespace coppice::qcow2 {
namespace {

/// Guest clusters one behind the other that stand one behind the other in the file.
struct Run {
    std::uint64_t guest; ///< cluster
    std::uint64_t host;  ///< cluster; what has no place in the file keeps only its table
    std::uint64_t count;
    bool has_host;
    bool compressed; ///< one guest cluster, whose stream stands in `host_clusters` from `host` on
    std::uint64_t host_clusters;
};

struct Table {
    std::uint64_t host; ///< cluster
    ByteRange guest;    ///< all that it could map
    std::size_t first;  ///< of its runs
    std::size_t end;
};

class Tail final : public TailSpace {
public:
    explicit Tail(const Layer& layer)
        : cluster_{layer.header().cluster_size()}, per_block_{layer.header().refcounts_per_block()} {
        read_tables(layer);
        read_fixed(layer);
    }

    RangeList beyond(Bytes end) const override {
        const std::uint64_t limit = end / cluster_;
        RangeList result;
        for (const Table& table : tables_) {
            if (table.host >= limit) {
                add_range(result, table.guest);
                continue;
            }
            for (std::size_t at = table.first; at < table.end; ++at)
                add_part(result, runs_[at], limit);
        }
        return result;
    }

    Bytes end_without(const RangeList& guest) const override {
        std::uint64_t end = fixed_end_;
        auto gone = guest.begin();
        for (const Table& table : tables_) {
            while (gone != guest.end() && gone->end <= table.guest.begin)
                ++gone;
            const bool touched = gone != guest.end() && gone->begin < table.guest.end;
            bool used = !touched; // an empty one that nobody touches stays where it is
            auto next = gone;
            for (std::size_t at = table.first; at < table.end; ++at)
                used |= keep(runs_[at], guest, next, end);
            if (used) end = std::max(end, table.host + 1);
        }
        return cluster_ * with_blocks(end);
    }

private:
    void read_tables(const Layer& layer) {
        const L2Rules rules = L2Rules::of(layer.header(), layer.limit());
        const auto l1 = layer.l1_table();
        for (std::uint64_t index = 0; index < l1.size(); ++index) {
            const auto offset = layer.l2_table_offset(index);
            if (!offset) continue;
            const std::size_t first = runs_.size();
            read_table(layer, rules, *offset, layer.header().l2_entries() * index);
            tables_.push_back({*offset / cluster_,
                               ByteRange::at(layer.header().l2_covers() * index, layer.header().l2_covers()), first,
                               runs_.size()});
        }
    }

    void read_table(const Layer& layer, const L2Rules& rules, Bytes offset, std::uint64_t guest) {
        const std::size_t first = runs_.size();
        const auto words = layer.l2_table(offset);
        const std::uint64_t step = rules.extended ? 2 : 1;
        for (std::uint64_t at = 0; at < words.size(); at += step, ++guest) {
            const L2Entry entry = decode_l2_entry(words[at], rules.extended ? words[at + 1] : 0, rules);
            if (entry.defect)
                throw CorruptImage{layer.device().name(), offset + Bytes{at * 8},
                                   std::string{entry.defect->expectation}};
            if (entry.maps_nothing() && entry.host == 0_B) continue;
            Run run{guest, entry.host / cluster_, 1, entry.host != 0_B, entry.compressed, 1};
            if (entry.compressed)
                run.host_clusters = (entry.host + entry.stream_length - 1_B) / cluster_ - run.host + 1;
            Run* last = runs_.size() > first ? &runs_.back() : nullptr;
            if (last != nullptr && !run.compressed && !last->compressed && run.has_host == last->has_host &&
                last->guest + last->count == guest && (!run.has_host || last->host + last->count == run.host))
                ++last->count;
            else
                runs_.push_back(run);
        }
    }

    void read_fixed(const Layer& layer) {
        const Header& header = layer.header();
        const auto behind = [&](Bytes offset, Bytes length) {
            fixed_end_ = std::max(fixed_end_, units_needed(offset + length, cluster_));
        };
        behind(0_B, cluster_);
        behind(header.l1_table_offset, Bytes{header.l1_size * std::uint64_t{8}});
        const Bytes table = cluster_ * header.refcount_table_clusters;
        behind(header.refcount_table_offset, table);
        blocks_ = layer.read_words(header.refcount_table_offset, table.count() / 8);
        for (std::uint64_t& block : blocks_)
            block /= cluster_.count();
    }

    void add_part(RangeList& result, const Run& run, std::uint64_t limit) const {
        if (!run.has_host || run.host + (run.compressed ? run.host_clusters : run.count) <= limit) return;
        const std::uint64_t kept = run.compressed || run.host >= limit ? 0 : limit - run.host;
        add_range(result, ByteRange::at(cluster_ * (run.guest + kept), cluster_ * (run.count - kept)));
    }

    /// Whether something of `run` is not in `guest`, whose stretches before `next` lie before it; raises `end`
    /// accordingly.
    bool keep(const Run& run, const RangeList& guest, RangeList::const_iterator& next, std::uint64_t& end) const {
        const ByteRange all = ByteRange::at(cluster_ * run.guest, cluster_ * run.count);
        while (next != guest.end() && next->end <= all.begin)
            ++next;
        // The last cluster of it that stays.
        Bytes last = all.end;
        for (auto gone = next; gone != guest.end() && gone->begin < all.end; ++gone) {
            if (gone->end < all.end) continue;
            last = std::max(all.begin, gone->begin);
        }
        if (last <= all.begin) return false;
        const std::uint64_t kept = (last - all.begin) / cluster_;
        if (run.has_host) end = std::max(end, run.host + (run.compressed ? run.host_clusters : kept));
        return true;
    }

    /// A block stays as long as it counts something, and then what counts the block does, too.
    std::uint64_t with_blocks(std::uint64_t end) const {
        for (std::uint64_t before = 0; before != end;) { // what counts a block that stands high may be another one
            before = end;
            for (std::uint64_t block = 0; block < blocks_.size() && block * per_block_ < end; ++block)
                if (blocks_[block] != 0) end = std::max(end, blocks_[block] + 1);
        }
        return end;
    }

    Bytes cluster_;
    std::uint64_t per_block_;
    std::uint64_t fixed_end_ = 0; ///< behind what never moves
    std::vector<Run> runs_;       ///< in the order of the disk
    std::vector<Table> tables_;
    std::vector<std::uint64_t> blocks_; ///< cluster of each refcount block, 0 for none
};

} // namespace

std::unique_ptr<const TailSpace> tail_space(const Layer& layer) {
    if (layer.header().data_file) return nullptr;
    return std::make_unique<Tail>(layer);
}

} // namespace coppice::qcow2
