#include "format/qcow2/image.h"

#include "format/base/error.h"
#include "format/qcow2/compressed.h"
#include "format/qcow2/forget.h"
#include "format/qcow2/header_edit.h"
#include "format/qcow2/image_end.h"
#include "format/qcow2/l2_entry.h"
#include "format/qcow2/layer.h"
#include "format/qcow2/merged_size.h"
#include "format/qcow2/parent_reference.h"
#include "format/qcow2/tail.h"
#include "format/qcow2/target.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace coppice::qcow2 {
namespace {

/// Adds `run`, as part of the last one where it continues it.
void append(std::vector<MapRun>& runs, const MapRun& run) {
    if (!runs.empty() && run.content != Content::compressed) {
        MapRun& last = runs.back();
        const bool continues = last.guest.end == run.guest.begin && last.content == run.content &&
                               (run.content == Content::zero || last.host + last.guest.length() == run.host);
        if (continues) {
            last.guest.end = run.guest.end;
            return;
        }
    }
    runs.push_back(run);
}

/// What an L2 entry for the cluster at `start` says about `window`, which does meet that cluster.
void append_entry(std::vector<MapRun>& runs, const L2Entry& entry, std::uint64_t word, Bytes start, ByteRange window,
                  const L2Rules& rules) {
    const ByteRange inside = intersection(window, ByteRange::at(start, rules.cluster_size()));
    if (entry.compressed) {
        append(runs, {inside, Content::compressed, entry.host, word});
        return;
    }
    const Bytes unit = rules.unit_size();
    for (unsigned first = 0; first < rules.units();) {
        const auto bits_from = [first](std::uint32_t bits) { return bits >> first; };
        const std::uint32_t data = bits_from(entry.data_units);
        const std::uint32_t zero = bits_from(entry.zero_units);
        const bool is_data = (data & 1) != 0;
        const bool is_zero = (zero & 1) != 0;
        // Stretch of units that are alike.
        const int alike = is_data   ? std::countr_one(data)
                          : is_zero ? std::countr_one(zero)
                                    : std::countr_zero(data | zero);
        const unsigned end = std::min(rules.units(), first + static_cast<unsigned>(alike));
        const ByteRange part = intersection(inside, {start + unit * first, start + unit * end});
        if ((is_data || is_zero) && !part.empty())
            append(runs,
                   {part, is_data ? Content::data : Content::zero, is_data ? entry.host + (part.begin - start) : 0_B});
        first = end;
    }
}

class Qcow2Image final : public Image {
public:
    explicit Qcow2Image(std::unique_ptr<BlockDevice> opened)
        : Image{std::move(opened)}, layer_{device()}, rules_{L2Rules::of(layer_.header(), layer_.limit())} {
        parent_ = parent_reference(header(), name());
    }

    Format format() const override { return Format::qcow2; }
    Bytes virtual_size() const override { return header().virtual_size(); }
    bool hidden() const override { return header().hidden(); }
    std::optional<ParentReference> parent() const override { return parent_; }
    std::optional<std::string> data_file() const override { return header().data_file; }

    std::optional<Bytes> next_mapped(Bytes from) const override;
    std::vector<MapRun> map(ByteRange window) const override;
    void read_compressed(const MapRun& run, ByteRange part, std::span<std::byte> buffer) const override;

    Bytes allocated_size() const override;
    Bytes physical_size() const override {
        return device().fixed_size() ? image_end(device(), header()) : device().size();
    }
    TargetShape target_shape() const override;
    std::optional<Bytes> length_to_hold(Bytes more) const override;
    std::unique_ptr<const TargetSpace> target_space() const override { return merged_size(layer_); }
    std::unique_ptr<const TailSpace> tail_space() const override { return qcow2::tail_space(layer_); }
    void forget(const RangeList& guest, EditLog& log) override { qcow2::forget(device(), log, guest); }

    HeaderEdit relinked(const std::optional<NewParent>& parent) const override {
        if (header().data_file) throw Unsupported{name(), "its data stands in another file"};
        return relink_edit(device(), header(), parent);
    }
    HeaderEdit with_hidden(bool hidden) const override { return hidden_edit(device(), header(), hidden); }
    std::unique_ptr<MergeTarget> merge_target(EditLog& log) override { return qcow2::merge_target(device(), log); }

private:
    struct Decompressed {
        std::uint64_t descriptor = 0; ///< 0: nothing yet; no compressed entry is 0
        std::vector<std::byte> bytes;
    };

    const Header& header() const { return layer_.header(); }
    L2Entry decode(std::span<const std::uint64_t> table, std::uint64_t index) const {
        return rules_.extended ? decode_l2_entry(table[2 * index], table[2 * index + 1], rules_)
                               : decode_l2_entry(table[index], 0, rules_);
    }
    std::optional<std::uint64_t> first_mapping_entry(std::span<const std::uint64_t> table, std::uint64_t index) const;
    void map_table(std::vector<MapRun>& runs, Bytes table_offset, Bytes covers_from, ByteRange window) const;

    Layer layer_;
    L2Rules rules_;
    std::optional<ParentReference> parent_;
    mutable Decompressed decompressed_;
};

/// The first entry at or behind `index` that is not unallocated.
std::optional<std::uint64_t> Qcow2Image::first_mapping_entry(std::span<const std::uint64_t> table,
                                                             std::uint64_t index) const {
    if (!rules_.extended) {
        const auto found = std::find_if(table.begin() + static_cast<std::ptrdiff_t>(index), table.end(),
                                        [](std::uint64_t word) { return word != 0; });
        if (found == table.end()) return std::nullopt;
        return static_cast<std::uint64_t>(found - table.begin());
    }
    for (; index < table.size() / 2; ++index) {
        const L2Entry entry = decode(table, index);
        if (entry.defect || !entry.maps_nothing()) return index;
    }
    return std::nullopt;
}

std::optional<Bytes> Qcow2Image::next_mapped(Bytes from) const {
    const auto l1 = layer_.l1_table();
    const std::uint64_t needed = std::min<std::uint64_t>(l1.size(), header().l1_entries_needed());
    for (std::uint64_t index = from / header().l2_covers(); index < needed; ++index) {
        if (l1[index] == 0) continue;
        const auto offset = layer_.l2_table_offset(index);
        if (!offset) continue;
        const Bytes start = header().l2_covers() * index;
        const std::uint64_t first = from > start ? (from - start) / header().cluster_size() : 0;
        const auto entry = first_mapping_entry(layer_.l2_table(*offset), first);
        if (!entry) continue;
        const Bytes found = std::max(from, start + header().cluster_size() * *entry);
        if (found >= virtual_size()) return std::nullopt;
        return found;
    }
    return std::nullopt;
}

std::vector<MapRun> Qcow2Image::map(ByteRange window) const {
    std::vector<MapRun> runs;
    window = intersection(window, {0_B, virtual_size()});
    const auto l1 = layer_.l1_table();
    for (Bytes at = window.begin; at < window.end;) {
        const std::uint64_t index = at / header().l2_covers();
        const Bytes start = header().l2_covers() * index;
        const Bytes end = std::min(window.end, start + header().l2_covers());
        if (l1[index] != 0)
            if (const auto offset = layer_.l2_table_offset(index)) map_table(runs, *offset, start, {at, end});
        at = end;
    }
    return runs;
}

void Qcow2Image::map_table(std::vector<MapRun>& runs, Bytes table_offset, Bytes covers_from, ByteRange window) const {
    const auto table = layer_.l2_table(table_offset);
    std::uint64_t index = (window.begin - covers_from) / rules_.cluster_size();
    for (Bytes start = covers_from + rules_.cluster_size() * index; start < window.end;
         start += rules_.cluster_size(), ++index) {
        const std::uint64_t word = table[rules_.extended ? 2 * index : index];
        if (word == 0 && !rules_.extended) continue;
        const L2Entry entry = decode(table, index);
        if (const auto defect = entry.defect ? entry.defect : place_defect(entry, start, rules_))
            throw CorruptImage{name(), table_offset + Bytes{index * header().l2_entry_size()},
                               std::string{defect->expectation}};
        append_entry(runs, entry, word, start, window, rules_);
    }
}

void Qcow2Image::read_compressed(const MapRun& run, ByteRange part, std::span<std::byte> buffer) const {
    if (decompressed_.descriptor != run.descriptor) {
        const L2Entry entry = decode_l2_entry(run.descriptor, 0, rules_);
        if (!entry.compressed || entry.defect)
            throw std::logic_error{"the run is not a compressed cluster of this image"};
        std::vector<std::byte> stream(entry.stream_length.count());
        device().read_padded(entry.host, stream);
        decompressed_.descriptor = 0;
        decompressed_.bytes.resize(rules_.cluster_size().count());
        if (!decompress(header().compression_type, stream, decompressed_.bytes))
            throw CorruptImage{name(), entry.host, "compressed data of a whole cluster"};
        decompressed_.descriptor = run.descriptor;
    }
    const Bytes inside = part.begin % rules_.cluster_size();
    std::memcpy(buffer.data(), decompressed_.bytes.data() + inside.count(), part.length().count());
}

TargetShape Qcow2Image::target_shape() const {
    const Bytes cluster = header().cluster_size();
    TargetShape shape;
    shape.unit = cluster;
    shape.fill_unit = header().mapping_unit();
    // Each cluster's share of a refcount block, and that block's own share of one.
    shape.unit_overhead = Bytes{units_needed(cluster, Bytes{header().refcounts_per_block()})} + 1_B;
    shape.table_covers = header().l2_covers();
    shape.table_size = cluster;
    shape.index_covers = header().l2_covers();
    // A block for the first new cluster, and a refcount table that moves with twice its size and a block of its own.
    shape.fixed_overhead = cluster * (2 + 2 * std::uint64_t{header().refcount_table_clusters});
    shape.marks_zeros = header().version >= 3;
    shape.largest_virtual_size = header().l2_covers() * most_l1_entries;
    return shape;
}

/// Twice of what it needs by all calculation, and counts built anew. What is not needed stays a hole; where even that
/// is too little, Allocator tells so.
std::optional<Bytes> Qcow2Image::length_to_hold(Bytes more) const {
    if (device().fixed_size()) return std::nullopt;
    const Bytes clusters = round_up(image_end(device(), header()) + more * 2, header().cluster_size());
    const Bytes counts = target_shape().unit_overhead * (clusters / header().cluster_size()) * 2;
    return std::max(device().size(),
                    round_up(clusters + counts, header().cluster_size()) + header().cluster_size() * 8);
}

Bytes Qcow2Image::allocated_size() const {
    // In the order of the file, and each table once however often a hostile L1 names it.
    std::vector<Bytes> tables;
    const auto l1 = layer_.l1_table();
    for (std::uint64_t index = 0; index < l1.size(); ++index) {
        if (l1[index] == 0) continue;
        if (const auto offset = layer_.l2_table_offset(index)) tables.push_back(*offset);
    }
    std::ranges::sort(tables);
    Bytes sum;
    for (auto at = tables.begin(); at != tables.end();) {
        const auto next = std::upper_bound(at, tables.end(), *at);
        const auto table = layer_.l2_table(*at);
        Bytes in_table;
        const std::size_t step = rules_.extended ? 2 : 1;
        for (std::size_t word = 0; word < table.size(); word += step)
            in_table += allocated_by(table[word], table[word + step - 1], rules_);
        sum += in_table * static_cast<std::uint64_t>(next - at);
        at = next;
    }
    return sum;
}

} // namespace

std::unique_ptr<Image> open(std::unique_ptr<BlockDevice> device) {
    return std::make_unique<Qcow2Image>(std::move(device));
}

} // namespace coppice::qcow2
