#include "format/qcow2/write_round.h"

#include "format/base/error.h"
#include "format/base/log.h"

#include <algorithm>
#include <exception>
#include <string>

namespace coppice::qcow2 {
namespace {

constexpr std::uint64_t words_per_sector = sector_size.count() / 8;
constexpr std::size_t most_words = 1U << 18; // 2 MiB of L2 entries
constexpr std::size_t most_pieces = 1U << 16;

/// The leading writes that begin before `end`, after dropping those that end at or before `begin`.
std::span<const GuestWrite> overlapping(std::span<const GuestWrite>& writes, ByteRange range) {
    while (!writes.empty() && writes.front().guest.end <= range.begin)
        writes = writes.subspan(1);
    std::size_t count = 0;
    while (count < writes.size() && writes[count].guest.begin < range.end)
        ++count;
    return writes.first(count);
}

/// What made the round fail goes on to the caller; a failure to give up, which leaves the image in doubt, is told here.
void give_up(WriteRound& round, const std::string& image) {
    try {
        round.give_up();
    } catch (const std::exception& failure) {
        log::error("format", "cannot give back what a failed write has taken in " + image + ": " + failure.what());
    }
}

} // namespace

WriteRound::WriteRound(Writable& image, const Beneath& beneath, Bytes visible_end)
    : image_{image}, beneath_{beneath}, visible_end_{visible_end}, rules_{image.rules()}, planner_{rules_, beneath_} {}

WriteRound::~WriteRound() {
    if (open_) image_.in_doubt = true;
}

void WriteRound::give_up() {
    if (!image_.in_doubt) image_.allocator.abandon();
    open_ = false;
}

bool WriteRound::full() const {
    return words_ >= most_words || pieces_.size() >= most_pieces || releases_.size() >= most_pieces;
}

void WriteRound::plan_table(std::uint64_t index, std::span<const GuestWrite> writes) {
    const Bytes cluster_size = rules_.cluster_size();
    const Bytes table_begin = image_.header.l2_covers() * index;
    const ByteRange range =
        intersection({writes.front().guest.begin, writes.back().guest.end},
                     {table_begin, std::min(table_begin + image_.header.l2_covers(), visible_end_)});
    const Bytes former = image_.l2_table(index);
    if (former == 0_B && !planner_.may_show(range) &&
        std::ranges::all_of(writes, [](const auto& write) { return write.source == GuestWrite::Source::zeros; }))
        return;
    const std::uint64_t words_per_entry = image_.header.l2_entry_size() / 8;
    const std::uint64_t first_cluster = range.begin / cluster_size;
    const std::uint64_t end_cluster = units_needed(range.end, cluster_size);
    const std::uint64_t table_first = table_begin / cluster_size;
    const std::uint64_t first_word =
        (first_cluster - table_first) * words_per_entry / words_per_sector * words_per_sector;
    const std::uint64_t end_word =
        units_needed(Bytes{(end_cluster - table_first) * words_per_entry * 8}, sector_size) * words_per_sector;

    Slice& slice = slices_.emplace_back();
    slice.index = index;
    slice.former = former;
    slice.in_place = (image_.l1[index] & disk::copied_flag) != 0;
    slice.first = first_word;
    if (former == 0_B)
        slice.words.resize(end_word - first_word);
    else
        slice.words = read_words(image_.device, former + Bytes{first_word * 8}, end_word - first_word);
    slice.changed.resize(slice.words.size() / words_per_sector);
    for (std::uint64_t cluster = first_cluster; cluster < end_cluster && !writes.empty(); ++cluster) {
        const ByteRange guest = ByteRange::at(cluster_size * cluster, cluster_size);
        const auto here = overlapping(writes, guest);
        if (!here.empty()) plan_cluster(slice, cluster, here);
    }
    if (std::ranges::find(slice.changed, true) == slice.changed.end()) {
        slices_.pop_back();
        return;
    }
    words_ += slice.words.size();
    if (former == 0_B || !slice.in_place) slice.place = image_.offset_of(image_.allocator.take());
    // Not marked as its only user although nobody else uses it (the counts have been verified): its count is too high.
    if (former != 0_B && !slice.in_place) releases_.push_back({ByteRange::at(former, cluster_size), true, true});
}

void WriteRound::plan_cluster(Slice& slice, std::uint64_t number, std::span<const GuestWrite> writes) {
    const Bytes cluster_size = rules_.cluster_size();
    const std::uint64_t in_table = number % image_.header.l2_entries();
    const std::uint64_t at = in_table * (rules_.extended ? 2 : 1) - slice.first;
    std::uint64_t& word = slice.words[at];
    const std::uint64_t bitmap = rules_.extended ? slice.words[at + 1] : 0;
    const GuestCluster cluster{cluster_size * number, std::min(cluster_size * (number + 1), visible_end_),
                               decode_l2_entry(word, bitmap, rules_)};
    const L2Entry& entry = cluster.entry;
    if (entry.defect)
        throw CorruptImage{image_.device.name(), slice.former + Bytes{(slice.first + at) * 8},
                           std::string{entry.defect->expectation}};
    const ByteRange stream = ByteRange::at(entry.host, entry.stream_length);
    const ClusterPlan plan =
        planner_.plan(cluster, writes, [&] { return inflate_cluster(image_.device, image_.header, stream); });
    if (plan.changes_nothing()) return;

    const bool own_host = !entry.compressed && entry.host != 0_B;
    const bool in_place = own_host && entry.copied;
    Bytes host = own_host ? entry.host : 0_B;
    bool copied = entry.copied;
    if (plan.write != 0 && !in_place) {
        host = image_.offset_of(image_.allocator.take());
        copied = true;
    }
    if (plan.write != 0) add_pieces(cluster, plan, host, in_place, writes);
    const std::uint32_t data = (entry.data_units | plan.write) & ~(plan.zero | plan.unmapped);
    const std::uint32_t zero = (entry.zero_units & ~(plan.write | plan.unmapped)) | plan.zero;
    if (data == 0) host = 0_B;
    if (entry.compressed)
        releases_.push_back({stream, false, true});
    else if (own_host && host != entry.host)
        releases_.push_back({ByteRange::at(entry.host, cluster_size), !entry.copied, host != 0_B});

    std::uint64_t new_word = host == 0_B ? 0 : host.count() | (copied ? disk::copied_flag : 0);
    if (!rules_.extended && zero != 0) new_word |= disk::zero_flag;
    const std::uint64_t new_bitmap = std::uint64_t{zero} << 32 | data;
    if (new_word == word && (!rules_.extended || new_bitmap == bitmap)) return;
    word = new_word;
    if (rules_.extended) slice.words[at + 1] = new_bitmap;
    slice.changed[at / words_per_sector] = true;
}

void WriteRound::add_pieces(const GuestCluster& cluster, const ClusterPlan& plan, Bytes host, bool in_place,
                            std::span<const GuestWrite> writes) {
    const L2Entry& entry = cluster.entry;
    // Units that move along because the cluster does.
    const std::uint32_t moved =
        in_place || entry.compressed ? 0 : entry.data_units & ~(plan.write | plan.zero | plan.unmapped);
    for (unsigned unit = 0; unit < rules_.units(); ++unit) {
        const std::uint32_t bit = std::uint32_t{1} << unit;
        if ((plan.write & bit) != 0) add_unit(cluster, unit, host, in_place, writes);
        const Bytes offset = rules_.unit_size() * unit;
        if ((moved & bit) != 0)
            pieces_.add({Piece::Source::device,
                         host + offset,
                         rules_.unit_size(),
                         &image_.device,
                         entry.host + offset,
                         nullptr,
                         {}});
    }
}

void WriteRound::add_unit(const GuestCluster& cluster, unsigned unit, Bytes host, bool in_place,
                          std::span<const GuestWrite> writes) {
    const ByteRange guest = ByteRange::at(cluster.begin + rules_.unit_size() * unit, rules_.unit_size());
    const bool keeps_rest = in_place && (cluster.entry.data_units & (std::uint32_t{1} << unit)) != 0;
    Bytes at = guest.begin;
    for (const GuestWrite& write : writes) {
        const ByteRange part = intersection(write.guest, guest);
        if (part.empty()) continue;
        if (!keeps_rest) add_fill(cluster, {at, part.begin}, host, unit);
        Piece piece;
        piece.target = host + (part.begin - cluster.begin);
        piece.length = part.length();
        const Bytes skipped = part.begin - write.guest.begin;
        if (write.source == GuestWrite::Source::device) {
            piece.source = Piece::Source::device;
            piece.device = write.device;
            piece.offset = write.device_offset + skipped;
        } else if (write.source == GuestWrite::Source::memory) {
            piece.source = Piece::Source::memory;
            piece.memory = write.memory.data() + skipped.count();
        }
        pieces_.add(piece);
        at = part.end;
    }
    if (!keeps_rest) add_fill(cluster, {at, guest.end}, host, unit);
}

void WriteRound::add_fill(const GuestCluster& cluster, ByteRange guest, Bytes host, unsigned unit) {
    if (guest.begin >= guest.end) return;
    const L2Entry& entry = cluster.entry;
    const std::uint32_t bit = std::uint32_t{1} << unit;
    const Bytes in_cluster = guest.begin - cluster.begin;
    Piece piece;
    piece.target = host + in_cluster;
    piece.length = guest.length();
    if (entry.compressed) {
        piece.source = Piece::Source::inflated;
        piece.offset = in_cluster;
        piece.stream = ByteRange::at(entry.host, entry.stream_length);
    } else if ((entry.data_units & bit) != 0) {
        piece.source = Piece::Source::device;
        piece.device = &image_.device;
        piece.offset = entry.host + in_cluster;
    } else if ((entry.zero_units & bit) == 0 && guest.begin < cluster.visible_end) {
        // What lies behind the end of this disk is zeros, whatever a longer disk beneath holds there.
        const Bytes end = std::min(guest.end, cluster.visible_end);
        piece.source = Piece::Source::beneath;
        piece.offset = guest.begin;
        piece.length = end - guest.begin;
        pieces_.add(piece);
        piece = {};
        piece.target = host + (end - cluster.begin);
        piece.length = guest.end - end;
    }
    pieces_.add(piece);
}

void WriteRound::write_tables() {
    const Bytes cluster_size = rules_.cluster_size();
    for (const Slice& slice : slices_) {
        if (slice.place == 0_B) continue;
        if (slice.former != 0_B)
            image_.device.write_at(slice.place, image_.device.read_at(slice.former, cluster_size));
        else if (slice.words.size() * 8 < cluster_size.count())
            image_.device.zero(ByteRange::at(slice.place, cluster_size));
        write_words(image_.device, slice.place + Bytes{slice.first * 8}, slice.words);
    }
}

void WriteRound::write_entries() {
    std::vector<std::uint64_t> indices;
    for (const Slice& slice : slices_) {
        if (slice.place != 0_B) {
            image_.l1[slice.index] = slice.place.count() | disk::copied_flag;
            indices.push_back(slice.index);
            continue;
        }
        const std::span words{slice.words};
        for (std::size_t sector = 0; sector < slice.changed.size(); ++sector) {
            if (!slice.changed[sector]) continue;
            std::size_t end = sector + 1;
            while (end < slice.changed.size() && slice.changed[end])
                ++end;
            write_words(image_.device, slice.former + Bytes{(slice.first + sector * words_per_sector) * 8},
                        words.subspan(sector * words_per_sector, (end - sector) * words_per_sector));
            sector = end;
        }
    }
    image_.write_l1(indices);
}

void WriteRound::carry_out(DataMover& mover) {
    if (slices_.empty() && pieces_.empty()) {
        open_ = false;
        return;
    }
    Allocator& allocator = image_.allocator;
    if (allocator.has_taken()) {
        allocator.reserve();
        image_.in_doubt = true;
        allocator.commit();
        image_.in_doubt = false;
        allocator.cover_end();
    }
    pieces_.write(image_.device, image_.header, beneath_.now, mover);
    write_tables();
    image_.device.flush();
    image_.in_doubt = true;
    if (!slices_.empty()) {
        write_entries();
        image_.device.flush();
    }
    allocator.settle();
    for (const Release& release : releases_) {
        const ClusterNumber last = image_.cluster_at(release.host.end - 1_B);
        for (ClusterNumber cluster = image_.cluster_at(release.host.begin); cluster <= last;
             cluster += ClusterNumber{1}) {
            if (release.all_references)
                allocator.retire_all(cluster);
            else if (release.moved)
                allocator.retire(cluster);
            else
                allocator.release(cluster);
        }
    }
    image_.in_doubt = false;
    open_ = false;
}

void write_ranges(Writable& image, std::span<const GuestWrite> writes, const Beneath& beneath, Bytes visible_end,
                  DataMover& mover) {
    const Bytes covers = image.header.l2_covers();
    std::optional<WriteRound> round;
    try {
        for (std::uint64_t index = 0; !writes.empty(); ++index) {
            // One range may reach over many tables, and one table may hold many ranges.
            index = std::max(index, writes.front().guest.begin / covers);
            const ByteRange table = ByteRange::at(covers * index, covers);
            const auto here = overlapping(writes, table);
            if (here.empty()) continue;
            if (!round) round.emplace(image, beneath, visible_end);
            round->plan_table(index, here);
            if (round->full()) {
                round->carry_out(mover);
                round.reset();
            }
            while (!writes.empty() && writes.front().guest.end <= table.end)
                writes = writes.subspan(1);
        }
        if (round) round->carry_out(mover);
    } catch (const std::exception&) { // a request to stop, too
        if (round) give_up(*round, image.device.name());
        throw;
    }
}

} // namespace coppice::qcow2
