#include "format/qcow2/refcounts.h"

#include "format/base/error.h"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <stdexcept>

namespace coppice::qcow2 {
namespace {

constexpr Bytes largest_page = 4_KiB;
constexpr Bytes page_memory = 8_MiB;
constexpr Bytes table_chunk = 64_KiB;

void to_native(std::span<std::uint64_t> words) {
    for (std::uint64_t& word : words)
        boost::endian::big_to_native_inplace(word);
}

} // namespace

std::uint64_t decode_refcount(std::span<const std::byte> block, std::uint64_t index, unsigned order) {
    if (order < 3) {
        const unsigned width = 1U << order;
        const std::uint64_t bit = index << order;
        return (std::to_integer<unsigned>(block[bit / 8]) >> (bit % 8)) & ((1U << width) - 1);
    }
    const std::size_t bytes = std::size_t{1} << (order - 3);
    std::uint64_t value = 0;
    for (const std::byte byte : block.subspan(index * bytes, bytes))
        value = value << 8 | std::to_integer<unsigned>(byte);
    return value;
}

void encode_refcount(std::span<std::byte> block, std::uint64_t index, unsigned order, std::uint64_t value) {
    if (order < 3) {
        const unsigned width = 1U << order;
        const std::uint64_t bit = index << order;
        const auto mask = static_cast<std::byte>(((1U << width) - 1) << (bit % 8));
        std::byte& byte = block[bit / 8];
        byte = (byte & ~mask) | static_cast<std::byte>(value << (bit % 8));
        return;
    }
    const std::size_t bytes = std::size_t{1} << (order - 3);
    for (std::size_t place = bytes; place-- > 0; value >>= 8)
        block[index * bytes + place] = static_cast<std::byte>(value & 0xFF);
}

Refcounts::Refcounts(BlockDevice& device, const Header& header)
    : device_{device}, cluster_size_{header.cluster_size()}, order_{header.refcount_order},
      largest_{order_ == 6 ? ~std::uint64_t{0} : (std::uint64_t{1} << (1U << order_)) - 1},
      per_block_{header.refcounts_per_block()},
      page_size_{std::min(cluster_size_, largest_page)}, per_page_{(page_size_.count() * 8) >> order_},
      table_place_{ClusterNumber{header.refcount_table_offset / cluster_size_}, header.refcount_table_clusters} {
    const std::uint64_t entries = (cluster_size_ * header.refcount_table_clusters).count() / 8;
    if (entries > most_table_entries)
        throw CorruptImage{device.name(), header.refcount_table_offset, "a refcount table of at most 8 MiB"};
    table_.resize(entries);
    device_.read_padded(header.refcount_table_offset, std::as_writable_bytes(std::span{table_}));
    to_native(table_);
    const Bytes limit = round_up(device_.size(), cluster_size_);
    for (std::uint64_t index = 0; index < entries; ++index) {
        const std::uint64_t entry = table_[index];
        if (entry == 0) continue;
        // Compared before it is rounded: an offset near 2^64 must not wrap.
        if (entry % cluster_size_.count() != 0 || entry >= limit.count())
            throw CorruptImage{device.name(), header.refcount_table_offset + Bytes{index * 8},
                               "a refcount block at a multiple of the cluster size inside the file"};
    }
}

ClusterNumber Refcounts::end() const {
    const std::uint64_t pages_per_block = per_block_ / per_page_;
    for (std::uint64_t block = table_.size(); block-- > 0;) {
        if (table_[block] == 0) continue;
        for (std::uint64_t number = (block + 1) * pages_per_block; number-- > block * pages_per_block;) {
            const auto& bytes = page(number).bytes;
            if (std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; })) continue;
            for (std::uint64_t index = per_page_; index-- > 0;)
                if (decode_refcount(bytes, index, order_) != 0) return ClusterNumber{number * per_page_ + index + 1};
        }
    }
    return ClusterNumber{0};
}

Bytes Refcounts::page_offset(std::uint64_t page) const {
    const std::uint64_t pages_per_block = per_block_ / per_page_;
    return Bytes{table_[page / pages_per_block]} + page_size_ * (page % pages_per_block);
}

Refcounts::Page& Refcounts::page(std::uint64_t number) const {
    const auto found = pages_.find(number);
    if (found != pages_.end()) return found->second;
    if (pages_.size() >= page_memory / page_size_)
        std::erase_if(pages_, [](const auto& page) { return !page.second.changed; });
    Page loaded{std::vector<std::byte>(page_size_.count()), false};
    device_.read_padded(page_offset(number), loaded.bytes);
    return pages_.emplace(number, std::move(loaded)).first->second;
}

std::uint64_t Refcounts::get(ClusterNumber cluster) const {
    if (!has_block(block_of(cluster))) return 0;
    return decode_refcount(page(page_of(cluster)).bytes, cluster.count() % per_page_, order_);
}

void Refcounts::set(ClusterNumber cluster, std::uint64_t value) {
    if (!has_block(block_of(cluster)) || value > largest_) throw std::logic_error{"refcount that cannot be stored"};
    if (pages_.size() >= page_memory / page_size_ && !pages_.contains(page_of(cluster))) {
        write_counts();
        pages_.clear();
    }
    Page& changed = page(page_of(cluster));
    encode_refcount(changed.bytes, cluster.count() % per_page_, order_, value);
    changed.changed = true;
}

void Refcounts::write_counts() {
    std::vector<WriteRequest> requests;
    for (auto& [number, page] : pages_) {
        if (!page.changed) continue;
        requests.push_back({page_offset(number), page.bytes});
        page.changed = false;
    }
    if (requests.empty()) return;
    std::ranges::sort(requests, {}, &WriteRequest::offset);
    device_.write(requests);
}

void Refcounts::add_block(std::uint64_t block, ClusterNumber place) {
    if (block >= table_.size() || table_[block] != 0) throw std::logic_error{"refcount block that cannot be added"};
    const Bytes offset = cluster_size_ * place.count();
    device_.zero(ByteRange::at(offset, cluster_size_));
    table_[block] = offset.count();
    new_entries_.insert(block);
}

void Refcounts::drop_block(std::uint64_t block) {
    const std::uint64_t pages_per_block = per_block_ / per_page_;
    for (std::uint64_t number = block * pages_per_block; number < (block + 1) * pages_per_block; ++number)
        pages_.erase(number);
    table_[block] = 0;
    new_entries_.insert(block);
}

void Refcounts::write_entries() {
    // Whole sectors: that is what a device can write without reading first.
    constexpr std::uint64_t per_sector = sector_size.count() / 8;
    std::vector<std::vector<std::uint64_t>> sectors;
    std::vector<WriteRequest> requests;
    for (auto entry = new_entries_.begin(); entry != new_entries_.end();) {
        const std::uint64_t first = *entry / per_sector * per_sector;
        auto& words = sectors.emplace_back(table_.begin() + static_cast<std::ptrdiff_t>(first),
                                           table_.begin() + static_cast<std::ptrdiff_t>(first + per_sector));
        for (std::uint64_t& word : words)
            boost::endian::native_to_big_inplace(word);
        requests.push_back(
            {cluster_size_ * table_place_.first.count() + Bytes{first * 8}, std::as_bytes(std::span{words})});
        entry = new_entries_.lower_bound(first + per_sector);
    }
    if (!requests.empty()) device_.write(requests);
    new_entries_.clear();
}

void Refcounts::extend_table(std::uint64_t entries) {
    if (entries < table_.size() || entries > most_table_entries)
        throw std::logic_error{"refcount table of this length"};
    table_.resize(entries);
}

void Refcounts::write_table(ClusterRun place) {
    std::vector<std::uint64_t> words;
    const std::uint64_t chunk = table_chunk.count() / 8;
    for (std::uint64_t first = 0; first < table_.size(); first += chunk) {
        const std::uint64_t count = std::min(chunk, table_.size() - first);
        words.assign(table_.begin() + static_cast<std::ptrdiff_t>(first),
                     table_.begin() + static_cast<std::ptrdiff_t>(first + count));
        for (std::uint64_t& word : words)
            boost::endian::native_to_big_inplace(word);
        device_.write_at(cluster_size_ * place.first.count() + Bytes{first * 8}, std::as_bytes(std::span{words}));
    }
}

void Refcounts::table_moved(ClusterRun place) {
    table_place_ = place;
    new_entries_.clear();
}

} // namespace coppice::qcow2
