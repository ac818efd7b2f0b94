#include "format/qcow2/writable.h"

#include "format/base/error.h"

#include <boost/endian/conversion.hpp>

#include <algorithm>

namespace coppice::qcow2 {
namespace {

constexpr std::uint64_t words_per_sector = sector_size.count() / 8;

} // namespace

std::vector<std::uint64_t> read_words(const BlockDevice& device, Bytes offset, std::uint64_t count) {
    std::vector<std::uint64_t> words(count);
    device.read_padded(offset, std::as_writable_bytes(std::span{words}));
    for (std::uint64_t& word : words)
        boost::endian::big_to_native_inplace(word);
    return words;
}

void write_words(BlockDevice& device, Bytes offset, std::span<const std::uint64_t> words) {
    std::vector<std::uint64_t> big(words.begin(), words.end());
    for (std::uint64_t& word : big)
        boost::endian::native_to_big_inplace(word);
    device.write_at(offset, std::as_bytes(std::span{big}));
}

Writable::Writable(BlockDevice& image, Header read_header)
    : device{image}, header{std::move(read_header)}, l1{read_words(device, header.l1_table_offset, header.l1_size)},
      refcounts{device, header}, allocator{device, header, refcounts} {}

void Writable::expect_usable() const {
    if (in_doubt)
        throw Error{"write to " + device.name() + ": an earlier write failed, the image has to be opened again"};
}

Bytes Writable::l2_table(std::uint64_t index) const {
    const std::uint64_t entry = l1[index];
    const Bytes place = header.l1_table_offset + Bytes{index * 8};
    const Bytes offset{entry & disk::offset_mask};
    if ((entry & disk::l1_reserved) != 0) throw CorruptImage{device.name(), place, "an L1 entry without reserved bits"};
    if (!is_aligned(offset, header.cluster_size()) || offset >= device.size())
        throw CorruptImage{device.name(), place, "an L2 table at a multiple of the cluster size inside the file"};
    return offset;
}

void Writable::write_l1(const std::vector<std::uint64_t>& indices) {
    for (auto index = indices.begin(); index != indices.end();) {
        const std::uint64_t first = *index / words_per_sector * words_per_sector;
        std::uint64_t end = first + words_per_sector;
        // Neighbouring sectors go in one write.
        for (; index != indices.end() && *index < end + words_per_sector; ++index)
            end = std::max(end, (*index / words_per_sector + 1) * words_per_sector);
        std::vector<std::uint64_t> words(l1.begin() + static_cast<std::ptrdiff_t>(first),
                                         l1.begin() +
                                             static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(end, l1.size())));
        words.resize(end - first); // what stands behind the table in its last cluster has no meaning
        write_words(device, header.l1_table_offset + Bytes{first * 8}, words);
    }
}

} // namespace coppice::qcow2
