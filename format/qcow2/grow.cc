#include "format/qcow2/grow.h"

#include "format/base/error.h"
#include "format/qcow2/sector_edit.h"
#include "format/qcow2/write_round.h"

#include <algorithm>

namespace coppice::qcow2 {
namespace {

// Limits of QEMU's programs.
constexpr Bytes largest_l1 = 32_MiB;
constexpr std::uint64_t largest_size = (1ULL << 63) - 1;

constexpr std::size_t size_field = 24;
constexpr std::size_t l1_size_field = 36;
constexpr std::size_t l1_offset_field = 40;

void put_l1_place(Writable& image, Bytes offset, std::uint32_t entries) {
    SectorEdit edit{image.device};
    edit.put32(l1_size_field, entries);
    edit.put64(l1_offset_field, offset.count());
    image.in_doubt = true;
    edit.write();
    image.device.flush();
    image.header.l1_table_offset = offset;
    image.header.l1_size = entries;
    image.l1.resize(entries);
    image.in_doubt = false;
}

void move_l1(Writable& image, std::uint32_t entries) {
    const Bytes cluster_size = image.header.cluster_size();
    const ClusterRun former{image.cluster_at(image.header.l1_table_offset),
                            units_needed(Bytes{image.header.l1_size * std::uint64_t{8}}, cluster_size)};
    Allocator& allocator = image.allocator;
    const ClusterRun place = allocator.take_run(units_needed(Bytes{entries * std::uint64_t{8}}, cluster_size));
    allocator.reserve();
    image.in_doubt = true;
    allocator.commit();
    allocator.cover_end();
    const Bytes offset = image.offset_of(place.first);
    // The rest of the new table is zeros: there is nothing yet in the range that comes.
    image.device.zero(ByteRange::at(offset, cluster_size * place.count));
    write_words(image.device, offset, image.l1);
    image.device.flush();
    put_l1_place(image, offset, entries);
    allocator.settle();
    for (ClusterNumber cluster = former.first; cluster < former.end(); cluster += ClusterNumber{1})
        allocator.retire(cluster);
}

void extend_l1(Writable& image, std::uint64_t entries) {
    const std::uint64_t former = image.header.l1_size;
    if (entries <= former) return;
    const Bytes cluster_size = image.header.cluster_size();
    const Bytes room = round_up(Bytes{former * 8}, cluster_size);
    if (former == 0 || Bytes{entries * 8} > room) {
        move_l1(image, static_cast<std::uint32_t>(entries));
        return;
    }
    // The table fits where it is; what stands behind its end there is arbitrary.
    const std::vector<std::uint64_t> zeros(entries - former);
    const Bytes behind = image.header.l1_table_offset + Bytes{former * 8};
    write_words(image.device, behind, zeros);
    image.device.flush();
    put_l1_place(image, image.header.l1_table_offset, static_cast<std::uint32_t>(entries));
}

} // namespace

void grow(Writable& image, Bytes size, const Beneath& beneath, DataMover& mover) {
    const Bytes former = image.header.virtual_size();
    if (size <= former) return;
    const std::uint64_t entries = units_needed(size, image.header.l2_covers());
    if (Bytes{entries * 8} > largest_l1 || size.count() > largest_size)
        throw Refused{"virtual-size", image.device.name(),
                      "a disk of " + std::to_string(size.count()) + " bytes is too large for its clusters of " +
                          std::to_string(image.header.cluster_size().count()) + " bytes"};
    image.expect_usable();
    extend_l1(image, entries);
    // Entries of a disk that was once larger, the tail of the last cluster, and what is beneath: all of it zeros.
    const GuestWrite zeros{{former, size}, GuestWrite::Source::zeros, nullptr, 0_B, {}};
    write_ranges(image, {&zeros, 1}, beneath, size, mover);
    SectorEdit edit{image.device};
    edit.put64(size_field, size.count());
    image.in_doubt = true;
    edit.write();
    image.device.flush();
    image.header.size = size;
    image.in_doubt = false;
}

} // namespace coppice::qcow2
