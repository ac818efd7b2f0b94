#include "format/qcow2/metadata_walk.h"

#include "format/qcow2/compressed.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace coppice::qcow2 {
namespace {

constexpr std::size_t compact_at_least = 1U << 16;
constexpr unsigned most_bad_streams = 64;                     // afterwards the image is bad enough
constexpr std::uint64_t most_bitmap_entries = 0x8000000;      // QEMU's limit, block/qcow2-bitmap.c
constexpr std::uint64_t bitmap_reserved = 0xFF000000000001FE; // of an entry of a bitmap table
constexpr Bytes words_at_once = 1_MiB;

Bytes padded(Bytes length) {
    return round_up(length, 8_B);
}

} // namespace

MetadataWalk::MetadataWalk(const Layer& layer, Findings& findings, CheckDepth depth)
    : layer_{layer}, findings_{findings}, depth_{depth}, cluster_size_{layer.header().cluster_size()},
      limit_{layer.limit()}, rules_{L2Rules::of(layer.header(), layer.limit())} {
    read_refcount_table();
    read_active_l1();
    read_snapshots();
    read_bitmaps();
    compact_tables();
}

void MetadataWalk::report(Effect effect, std::string_view code, Bytes offset, std::string_view expectation) {
    if (first_walk_) findings_.add(effect, std::string{code}, offset, "expected " + std::string{expectation});
}

void MetadataWalk::read_refcount_table() {
    const Header& header = layer_.header();
    const std::uint64_t entries = cluster_size_.count() / 8 * header.refcount_table_clusters;
    refcount_table_ = layer_.read_words(header.refcount_table_offset, entries);
    for (std::uint64_t index = 0; index < entries; ++index) {
        std::uint64_t& entry = refcount_table_[index];
        if (entry == 0 || possible_cluster(Bytes{entry})) continue;
        report(Effect::damaged, "refcount-block-place", header.refcount_table_offset + Bytes{index * 8},
               "a refcount block at a multiple of the cluster size inside the file");
        entry = 0;
    }
}

std::optional<Bytes> MetadataWalk::table_of(std::uint64_t entry, Bytes place, Effect effect) {
    if (entry == 0) return std::nullopt;
    const Bytes offset{entry & disk::offset_mask};
    if ((entry & disk::l1_reserved) != 0) {
        report(effect, "l1-entry-reserved-bits", place, "an L1 entry without reserved bits");
    } else if (offset == 0_B) {
        report(effect, "l1-entry-copied-without-offset", place, "no COPIED flag without an L2 table");
        return std::nullopt;
    } else if (!is_aligned(offset, cluster_size_)) {
        report(effect, "l1-entry-unaligned", place, "an L2 table at a multiple of the cluster size");
    } else if (!possible_cluster(offset)) {
        report(effect, "l1-entry-past-end", place, "an L2 table inside the file");
    }
    if (offset == 0_B || !possible_cluster(offset)) return std::nullopt;
    return offset;
}

void MetadataWalk::use_table(Bytes offset, bool active) {
    l2_tables_.push_back({offset.count(), active ? 1U : 0U, active ? 0U : 1U});
    if (l2_tables_.size() >= 2 * std::max(compacted_, compact_at_least)) compact_tables();
}

void MetadataWalk::compact_tables() {
    std::ranges::sort(l2_tables_, {}, &L2Use::offset);
    const auto sum = [](std::uint32_t a, std::uint32_t b) {
        return b > std::numeric_limits<std::uint32_t>::max() - a ? std::numeric_limits<std::uint32_t>::max() : a + b;
    };
    std::size_t kept = 0;
    for (const L2Use& use : l2_tables_) {
        if (kept > 0 && l2_tables_[kept - 1].offset == use.offset) {
            L2Use& same = l2_tables_[kept - 1];
            same.active = sum(same.active, use.active);
            same.snapshots = sum(same.snapshots, use.snapshots);
        } else {
            l2_tables_[kept++] = use;
        }
    }
    l2_tables_.resize(kept);
    compacted_ = kept;
}

void MetadataWalk::read_active_l1() {
    const Header& header = layer_.header();
    tables_.push_back({header.l1_table_offset, Bytes{header.l1_size} * 8});
    const auto l1 = layer_.l1_table();
    for (std::uint64_t index = 0; index < l1.size(); ++index) {
        const Bytes place = header.l1_table_offset + Bytes{index * 8};
        if (const auto table = table_of(l1[index], place, Effect::unreadable)) use_table(*table, true);
    }
}

void MetadataWalk::read_snapshots() {
    const Header& header = layer_.header();
    if (header.nb_snapshots == 0) return;
    Bytes at = header.snapshots_offset;
    for (std::uint32_t index = 0; index < header.nb_snapshots; ++index) {
        disk::SnapshotEntry entry;
        const Bytes fixed{sizeof entry};
        if (!inside_file(at, fixed)) {
            report(Effect::damaged, "snapshot-table-past-end", at, "a snapshot table inside the file");
            break;
        }
        layer_.device().read_padded(at, std::as_writable_bytes(std::span{&entry, 1}));
        const Bytes length = padded(fixed + Bytes{entry.extra_data_size.value()} + Bytes{entry.id_size.value()} +
                                    Bytes{entry.name_size.value()});
        if (!inside_file(at, length)) {
            report(Effect::damaged, "snapshot-table-past-end", at, "a snapshot table inside the file");
            break;
        }
        read_snapshot_l1(entry, at);
        at += length;
    }
    tables_.push_back({header.snapshots_offset, at - header.snapshots_offset});
}

void MetadataWalk::read_snapshot_l1(const disk::SnapshotEntry& entry, Bytes place) {
    const Bytes offset{entry.l1_table_offset.value()};
    const Bytes length = Bytes{entry.l1_size.value()} * 8;
    if (entry.l1_size.value() > most_l1_entries || !is_aligned(offset, cluster_size_) || !inside_file(offset, length)) {
        report(Effect::damaged, "snapshot-l1-place", place,
               "the L1 table of a snapshot, cluster aligned, inside the file");
        return;
    }
    if (!has_room_for_table(length, place)) return;
    tables_.push_back({offset, length});
    const auto l1 = layer_.read_words(offset, entry.l1_size.value());
    for (std::uint64_t index = 0; index < l1.size(); ++index)
        if (const auto table = table_of(l1[index], offset + Bytes{index * 8}, Effect::damaged))
            use_table(*table, false);
}

void MetadataWalk::read_bitmaps() {
    const Extension* extension = layer_.header().extension(disk::extension_bitmaps);
    if (extension == nullptr || (layer_.header().autoclear_features & disk::autoclear_bitmaps) == 0) return;
    disk::BitmapsExtension bitmaps;
    std::memcpy(&bitmaps, extension->data.data(), sizeof bitmaps);
    const Bytes begin{bitmaps.directory_offset.value()};
    const Bytes end = begin + Bytes{bitmaps.directory_size.value()};
    tables_.push_back({begin, end - begin});
    Bytes at = begin;
    for (std::uint32_t index = 0; index < bitmaps.nb_bitmaps.value(); ++index) {
        disk::BitmapDirectoryEntry entry;
        const Bytes fixed{sizeof entry};
        Bytes length = fixed;
        if (at + fixed <= end) {
            layer_.device().read_padded(at, std::as_writable_bytes(std::span{&entry, 1}));
            length = padded(fixed + Bytes{entry.extra_data_size.value()} + Bytes{entry.name_size.value()});
        }
        if (at + length > end) {
            report(Effect::damaged, "bitmap-directory", at, "a bitmap directory as long as its entries");
            return;
        }
        const Bytes table{entry.table_offset.value()};
        const std::uint64_t entries = entry.table_size.value();
        if (entries > most_bitmap_entries || !is_aligned(table, cluster_size_) ||
            !inside_file(table, Bytes{entries * 8}))
            report(Effect::damaged, "bitmap-table-place", at, "a bitmap table, cluster aligned, inside the file");
        else if (has_room_for_table(Bytes{entries * 8}, at))
            bitmap_tables_.push_back({table, Bytes{entries * 8}});
        at += length;
    }
}

void MetadataWalk::count_bitmap(ReferenceCounts& counts, const Area& table) {
    const std::uint64_t entries = table.length.count() / 8;
    for (std::uint64_t first = 0; first < entries;) {
        const std::uint64_t part = std::min(entries - first, words_at_once.count() / 8);
        const auto words = layer_.read_words(table.offset + Bytes{first * 8}, part);
        for (std::uint64_t index = 0; index < part; ++index) {
            const Bytes data{words[index] & disk::offset_mask};
            const Bytes place = table.offset + Bytes{(first + index) * 8};
            if ((words[index] & bitmap_reserved) != 0 || (data != 0_B && (words[index] & 1) != 0))
                report(Effect::damaged, "bitmap-entry-reserved-bits", place,
                       "a bitmap table entry without reserved bits");
            if (data == 0_B) continue;
            if (possible_cluster(data))
                add_area(counts, Owner::tables, {data, cluster_size_});
            else
                report(Effect::damaged, "bitmap-data-place", place, "bitmap data, cluster aligned, inside the file");
        }
        first += part;
    }
}

bool MetadataWalk::has_room_for_table(Bytes length, Bytes place) {
    if (length > limit_ - tables_length_) {
        report(Effect::damaged, "tables-overlap", place, "tables that do not overlap");
        return false;
    }
    tables_length_ += length;
    return true;
}

void MetadataWalk::add_area(ReferenceCounts& counts, Owner owner, Area area) const {
    if (area.length == 0_B) return;
    const std::uint64_t last = (area.offset + area.length - 1_B) / cluster_size_;
    for (std::uint64_t cluster = area.offset / cluster_size_; cluster <= last; ++cluster)
        counts.add(ClusterNumber{cluster}, owner);
}

void MetadataWalk::count(ReferenceCounts& counts) {
    const Header& header = layer_.header();
    add_area(counts, Owner::header, {0_B, cluster_size_});
    add_area(counts, Owner::refcounts, {header.refcount_table_offset, cluster_size_ * header.refcount_table_clusters});
    for (const std::uint64_t block : refcount_table_)
        if (block != 0) add_area(counts, Owner::refcounts, {Bytes{block}, cluster_size_});
    for (const Area& area : tables_)
        add_area(counts, Owner::tables, area);
    for (const Area& table : bitmap_tables_) {
        add_area(counts, Owner::tables, table);
        count_bitmap(counts, table);
    }
    for (const std::uint64_t entry : layer_.l1_table()) {
        const Bytes table{entry & disk::offset_mask};
        if (table == 0_B || !possible_cluster(table)) continue;
        counts.add_active(ClusterNumber{table / cluster_size_}, Owner::l2_table, (entry & disk::copied_flag) != 0);
    }
    for (const L2Use& use : l2_tables_)
        count_l2_table(counts, use);
    first_walk_ = false;
}

void MetadataWalk::count_l2_table(ReferenceCounts& counts, const L2Use& use) {
    if (use.snapshots != 0)
        counts.add(ClusterNumber{Bytes{use.offset} / cluster_size_}, Owner::l2_table, use.snapshots);
    const Effect effect = use.active != 0 ? Effect::unreadable : Effect::damaged;
    const auto words = layer_.read_words(Bytes{use.offset}, cluster_size_.count() / 8);
    const std::size_t step = rules_.extended ? 2 : 1;
    std::vector<L2Entry> compressed;
    for (std::size_t index = 0; index < words.size(); index += step) {
        if (words[index] == 0 && words[index + step - 1] == 0) continue;
        const L2Entry entry = decode_l2_entry(words[index], words[index + step - 1], rules_);
        if (entry.defect) report(effect, entry.defect->code, Bytes{use.offset + index * 8}, entry.defect->expectation);
        if (!entry.counts) continue;
        count_entry(counts, entry, use);
        if (entry.compressed && first_walk_ && depth_ == CheckDepth::content) compressed.push_back(entry);
    }
    try_compressed(compressed, effect);
}

void MetadataWalk::count_entry(ReferenceCounts& counts, const L2Entry& entry, const L2Use& use) const {
    if (entry.compressed) {
        const std::uint64_t last = (entry.host + entry.stream_length - 1_B) / cluster_size_;
        for (std::uint64_t cluster = entry.host / cluster_size_; cluster <= last; ++cluster)
            counts.add(ClusterNumber{cluster}, Owner::data, std::uint64_t{use.active} + use.snapshots);
        return;
    }
    const ClusterNumber cluster{entry.host / cluster_size_};
    if (use.active != 0) counts.add_active(cluster, Owner::data, entry.copied, use.active);
    if (use.snapshots != 0) counts.add(cluster, Owner::data, use.snapshots);
}

void MetadataWalk::try_compressed(std::vector<L2Entry>& entries, Effect effect) {
    if (entries.empty()) return;
    // Each stream once, with as much input as any entry allows.
    std::ranges::sort(entries, [](const L2Entry& a, const L2Entry& b) {
        return std::pair{a.host, b.stream_length} < std::pair{b.host, a.stream_length};
    });
    const auto rest = std::unique(entries.begin(), entries.end(),
                                  [](const L2Entry& a, const L2Entry& b) { return a.host == b.host; });
    entries.erase(rest, entries.end());
    std::vector<std::byte> stream;
    std::vector<std::byte> cluster(cluster_size_.count());
    for (const L2Entry& entry : entries) {
        if (bad_streams_ >= most_bad_streams) return;
        stream.resize(entry.stream_length.count());
        layer_.device().read_padded(entry.host, stream);
        if (decompress(layer_.header().compression_type, stream, cluster)) continue;
        ++bad_streams_;
        report(effect, "compressed-data", entry.host, "compressed data of a whole cluster");
    }
}

} // namespace coppice::qcow2
