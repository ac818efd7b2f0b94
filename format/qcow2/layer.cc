#include "format/qcow2/layer.h"

#include "format/base/error.h"

#include <boost/endian/conversion.hpp>

#include <algorithm>

namespace coppice::qcow2 {
namespace {

constexpr Bytes l2_memory = 4_MiB;
constexpr std::uint64_t most_tables = 16;

} // namespace

Layer::Layer(const BlockDevice& device)
    : device_{device}, header_{read_header(device)}, limit_{round_up(device.size(), header_.cluster_size())},
      most_cached_{std::clamp<std::uint64_t>(l2_memory / header_.cluster_size(), 2, most_tables)} {}

std::vector<std::uint64_t> Layer::read_words(Bytes offset, std::uint64_t count) const {
    std::vector<std::uint64_t> words(count);
    device_.read_padded(offset, std::as_writable_bytes(std::span{words}));
    for (std::uint64_t& word : words)
        boost::endian::big_to_native_inplace(word);
    return words;
}

std::span<const std::uint64_t> Layer::l1_table() const {
    if (!l1_) l1_ = read_words(header_.l1_table_offset, header_.l1_size);
    return *l1_;
}

std::optional<Bytes> Layer::l2_table_offset(std::uint64_t index) const {
    const std::uint64_t entry = l1_table()[index];
    if (entry == 0) return std::nullopt;
    const Bytes place = header_.l1_table_offset + Bytes{index * 8};
    if ((entry & disk::l1_reserved) != 0)
        throw CorruptImage{device_.name(), place, "an L1 entry without reserved bits"};
    const Bytes offset{entry & disk::offset_mask};
    // The COPIED flag alone: every reader takes the range for unallocated, the check reports the stray flag.
    if (offset == 0_B) return std::nullopt;
    if (!is_aligned(offset, header_.cluster_size()))
        throw CorruptImage{device_.name(), place, "an L2 table at a multiple of the cluster size"};
    if (offset + header_.cluster_size() > limit_)
        throw CorruptImage{device_.name(), place, "an L2 table inside the file"};
    return offset;
}

std::span<const std::uint64_t> Layer::l2_table(Bytes offset) const {
    const auto cached = std::ranges::find(l2_, offset, &CachedTable::offset);
    if (cached != l2_.end()) {
        l2_.splice(l2_.begin(), l2_, cached);
    } else {
        if (l2_.size() >= most_cached_) l2_.pop_back();
        l2_.push_front({offset, read_words(offset, header_.cluster_size().count() / 8)});
    }
    return l2_.front().words;
}

void Layer::forget() {
    l1_.reset();
    l2_.clear();
}

} // namespace coppice::qcow2
