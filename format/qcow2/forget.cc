#include "format/qcow2/forget.h"

#include "format/base/error.h"
#include "format/qcow2/preparation.h"
#include "format/qcow2/writable.h"

#include <algorithm>
#include <set>
#include <utility>

namespace coppice::qcow2 {
namespace {

class Forgetting {
public:
    Forgetting(BlockDevice& device, Header header) : image_{device, std::move(header)}, rules_{image_.rules()} {}

    void clear(const RangeList& guest) {
        std::vector<std::uint64_t> emptied;
        for (const std::uint64_t index : touched(guest))
            if (clear_table(index, guest)) emptied.push_back(index);
        for (const std::uint64_t index : emptied)
            image_.l1[index] = 0;
        if (!emptied.empty()) image_.write_l1(emptied);
        image_.device.flush();
        for (const ByteRange& host : freed_)
            for (ClusterNumber cluster = image_.cluster_at(host.begin); cluster <= image_.cluster_at(host.end - 1_B);
                 cluster += ClusterNumber{1})
                image_.allocator.release(cluster);
        image_.refcounts.write_counts();
        image_.device.flush();
    }

    void drop_blocks() {
        Refcounts& counts = image_.refcounts;
        std::set<std::uint64_t> candidates = blocks_of_nothing_else();
        bool dropped = true;
        while (std::exchange(dropped, false))
            for (auto block = candidates.rbegin(); block != candidates.rend() && !dropped; ++block)
                if (const ClusterNumber place = place_of(*block); counts_only(*block, place)) {
                    drop(*block, place);
                    candidates.erase(*block);
                    dropped = true;
                }
        if (!counts.has_new_blocks()) return;
        counts.write_entries();
        image_.device.flush();
    }

private:
    /// L1 entries that name a table.
    std::set<std::uint64_t> touched(const RangeList& guest) const {
        const Bytes covers = image_.header.l2_covers();
        std::set<std::uint64_t> result;
        for (const ByteRange& range : guest)
            for (std::uint64_t index = range.begin / covers;
                 index < std::min<std::uint64_t>(units_needed(range.end, covers), image_.l1.size()); ++index)
                if (image_.l2_table(index) != 0_B) result.insert(index);
        return result;
    }

    /// True where the table maps nothing any more.
    bool clear_table(std::uint64_t index, const RangeList& guest) {
        const Bytes cluster = rules_.cluster_size();
        const Bytes table = image_.l2_table(index);
        const Bytes covers_from = image_.header.l2_covers() * index;
        auto words = read_words(image_.device, table, cluster.count() / 8);
        const std::uint64_t step = rules_.extended ? 2 : 1;
        bool empty = true;
        auto gone =
            std::ranges::partition_point(guest, [&](const ByteRange& range) { return range.end <= covers_from; });
        for (std::uint64_t at = 0; at < words.size(); at += step) {
            if (words[at] == 0 && words[at + step - 1] == 0) continue;
            const ByteRange here = ByteRange::at(covers_from + cluster * (at / step), cluster);
            while (gone != guest.end() && gone->end <= here.begin)
                ++gone;
            if (gone == guest.end() || gone->begin > here.begin || here.end > gone->end) {
                empty = false;
                continue;
            }
            free_host(words[at], rules_.extended ? words[at + 1] : 0, table + Bytes{at * 8});
            std::fill_n(words.begin() + static_cast<std::ptrdiff_t>(at), step, 0);
        }
        if (empty)
            freed_.push_back(ByteRange::at(table, cluster));
        else
            write_words(image_.device, table, words);
        return empty;
    }

    void free_host(std::uint64_t word, std::uint64_t bitmap, Bytes place) {
        const L2Entry entry = decode_l2_entry(word, bitmap, rules_);
        if (entry.defect) throw CorruptImage{image_.device.name(), place, std::string{entry.defect->expectation}};
        if (entry.host == 0_B) return;
        // Streams may share a cluster, which then loses one reference for each.
        freed_.push_back(ByteRange::at(entry.host, entry.compressed ? entry.stream_length : rules_.cluster_size()));
    }

    ClusterNumber place_of(std::uint64_t block) const {
        return image_.cluster_at(image_.refcounts.place_of_block(block));
    }

    /// Those behind everything in use but blocks.
    std::set<std::uint64_t> blocks_of_nothing_else() const {
        const Refcounts& counts = image_.refcounts;
        std::set<ClusterNumber> places;
        for (std::uint64_t block = 0; block < counts.table_entries(); ++block)
            if (counts.has_block(block)) places.insert(place_of(block));
        std::set<std::uint64_t> result;
        for (std::uint64_t block = counts.table_entries(); block-- > 0;) {
            if (!counts.has_block(block)) continue;
            const ClusterNumber first{block * counts.per_block()};
            for (ClusterNumber cluster = first; cluster < first + ClusterNumber{counts.per_block()};
                 cluster += ClusterNumber{1})
                if (counts.get(cluster) != 0 && !places.contains(cluster)) return result;
            result.insert(block);
        }
        return result;
    }

    void drop(std::uint64_t block, ClusterNumber place) {
        Refcounts& counts = image_.refcounts;
        counts.drop_block(block);
        if (counts.block_of(place) == block) return;
        // It is no longer named before it is free.
        counts.write_entries();
        image_.device.flush();
        image_.allocator.release(place);
        counts.write_counts();
    }

    /// Nothing but itself.
    bool counts_only(std::uint64_t block, ClusterNumber place) const {
        const Refcounts& counts = image_.refcounts;
        const ClusterNumber first{block * counts.per_block()};
        for (ClusterNumber cluster = first; cluster < first + ClusterNumber{counts.per_block()};
             cluster += ClusterNumber{1})
            if (cluster != place && counts.get(cluster) != 0) return false;
        return true;
    }

    Writable image_;
    L2Rules rules_;
    std::vector<ByteRange> freed_; ///< places in the file that lose a reference
};

} // namespace

void forget(BlockDevice& device, EditLog& log, const RangeList& guest) {
    Preparation preparation{device, log};
    Forgetting forgetting{device, preparation.carry_out()};
    forgetting.clear(guest);
    forgetting.drop_blocks();
}

} // namespace coppice::qcow2
