#include "format/qcow2/l2_entry.h"

#include <bit>

namespace coppice::qcow2 {
namespace {

constexpr L2Defect reserved_bits{"l2-entry-reserved-bits", "an L2 entry without reserved bits"};
constexpr L2Defect unaligned{"l2-entry-unaligned", "a host cluster at a multiple of the cluster size"};
constexpr L2Defect past_end{"l2-entry-past-end", "a host cluster inside the file"};
constexpr L2Defect stray_copied{"l2-entry-copied-without-offset", "no COPIED flag without a host cluster"};
constexpr L2Defect zero_in_version2{"l2-entry-zero-flag", "no zero flag in a version 2 image"};
constexpr L2Defect zero_in_extended{"l2-entry-zero-flag", "no zero flag in an extended L2 entry"};
constexpr L2Defect allocated_and_zero{"subcluster-allocated-and-zero", "subclusters either allocated or zero"};
constexpr L2Defect allocated_nowhere{"subcluster-without-host", "a host cluster for the allocated subclusters"};
constexpr L2Defect compressed_copied{"compressed-copied-flag", "no COPIED flag on a compressed cluster"};
constexpr L2Defect compressed_bitmap{"compressed-with-subclusters", "no subcluster bits on a compressed cluster"};
constexpr L2Defect compressed_beside_data{"compressed-with-data-file", "no compressed cluster beside a data file"};
constexpr L2Defect misplaced{"data-file-place", "a place in the data file that is the guest's own"};
constexpr L2Defect compressed_place{"compressed-past-end", "compressed data behind the header and inside the file"};

L2Entry decode_compressed(std::uint64_t word, std::uint64_t bitmap, const L2Rules& rules) {
    L2Entry entry;
    entry.compressed = true;
    const unsigned offset_bits = 62 - (rules.cluster_bits - 8);
    const std::uint64_t offset = word & ((1ULL << offset_bits) - 1);
    const std::uint64_t more_sectors = (word & (disk::compressed_flag - 1)) >> offset_bits;
    entry.host = Bytes{offset};
    entry.stream_length = Bytes{(more_sectors + 1) * sector_size.count() - offset % sector_size.count()};
    entry.counts = !rules.data_file && offset >= rules.cluster_size().count() && (offset >> 56) == 0 &&
                   entry.host + entry.stream_length <= rules.limit;
    if (rules.data_file)
        entry.defect = compressed_beside_data;
    else if (!entry.counts)
        entry.defect = compressed_place;
    else if ((word & disk::copied_flag) != 0)
        entry.defect = compressed_copied;
    else if (rules.extended && bitmap != 0)
        entry.defect = compressed_bitmap;
    return entry;
}

/// Offset 0 is a place too where host clusters stand in another file; bit 63 says so.
bool has_host(const L2Entry& entry, const L2Rules& rules) {
    return entry.host != 0_B || (rules.data_file && entry.copied);
}

std::optional<L2Defect> defect_of(std::uint64_t word, const L2Entry& entry, const L2Rules& rules) {
    if ((word & disk::l2_reserved) != 0) return reserved_bits;
    if (!is_aligned(entry.host, rules.cluster_size())) return unaligned;
    if (entry.host != 0_B && !entry.counts && !rules.data_file) return past_end;
    if (entry.copied && !has_host(entry, rules)) return stray_copied;
    if ((word & disk::zero_flag) != 0 && rules.version < 3) return zero_in_version2;
    if ((word & disk::zero_flag) != 0 && rules.extended) return zero_in_extended;
    if ((entry.data_units & entry.zero_units) != 0) return allocated_and_zero;
    if (entry.data_units != 0 && !has_host(entry, rules)) return allocated_nowhere;
    return std::nullopt;
}

} // namespace

L2Entry decode_l2_entry(std::uint64_t word, std::uint64_t bitmap, const L2Rules& rules) {
    if ((word & disk::compressed_flag) != 0) return decode_compressed(word, bitmap, rules);
    L2Entry entry;
    entry.host = Bytes{word & disk::offset_mask};
    entry.copied = (word & disk::copied_flag) != 0;
    entry.counts = !rules.data_file && entry.host != 0_B && is_aligned(entry.host, rules.cluster_size()) &&
                   entry.host + rules.cluster_size() <= rules.limit;
    if (rules.extended) {
        entry.data_units = static_cast<std::uint32_t>(bitmap);
        entry.zero_units = static_cast<std::uint32_t>(bitmap >> 32);
    } else if ((word & disk::zero_flag) != 0) {
        entry.zero_units = 1;
    } else if (has_host(entry, rules)) {
        entry.data_units = 1;
    }
    entry.defect = defect_of(word, entry, rules);
    return entry;
}

std::optional<L2Defect> place_defect(const L2Entry& entry, Bytes guest, const L2Rules& rules) {
    if (!rules.data_file || entry.compressed || !has_host(entry, rules)) return std::nullopt;
    // A plain zero entry names no place; QEMU 7.2 does not mind bit 63 in it.
    if (!rules.extended && entry.host == 0_B && entry.zero_units != 0) return std::nullopt;
    if (entry.host != guest) return misplaced;
    return std::nullopt;
}

Bytes allocated_by(std::uint64_t word, std::uint64_t bitmap, const L2Rules& rules) {
    if (rules.extended && (word & disk::compressed_flag) == 0)
        return rules.unit_size() * static_cast<unsigned>(std::popcount(static_cast<std::uint32_t>(bitmap)));
    const bool allocated = (word & (disk::copied_flag | disk::compressed_flag | disk::offset_mask)) != 0;
    return allocated ? rules.cluster_size() : 0_B;
}

} // namespace coppice::qcow2
