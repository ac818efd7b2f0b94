#include "format/qcow2/reference_counts.h"

namespace coppice::qcow2 {

void ReferenceCounts::begin(ClusterNumber first) {
    begin_ = first;
    end_ = last_end;
    pages_.clear();
    overflow_.clear();
    last_page_ = nullptr;
}

ReferenceCounts::Page* ReferenceCounts::page_of(ClusterNumber cluster) {
    if (cluster < begin_ || cluster >= end_) return nullptr;
    const std::uint64_t number = cluster.count() / clusters_per_page;
    if (last_page_ != nullptr && last_number_ == number) return last_page_;
    auto& page = pages_[number];
    if (!page) {
        page = std::make_unique<Page>();
        if (pages_.size() > most_pages_) {
            // The last page goes to a later round.
            const auto last = std::prev(pages_.end());
            end_ = ClusterNumber{last->first * clusters_per_page};
            overflow_.erase(overflow_.lower_bound(end_), overflow_.end());
            pages_.erase(last);
            last_page_ = nullptr;
            if (cluster >= end_) return nullptr;
        }
    }
    last_number_ = number;
    last_page_ = pages_[number].get();
    return last_page_;
}

void ReferenceCounts::count(ClusterNumber cluster, Page& page, std::uint64_t count) {
    std::uint16_t& stored = page.counts[cluster.count() % clusters_per_page];
    if (stored != saturated && count < saturated - std::uint64_t{stored}) {
        stored = static_cast<std::uint16_t>(stored + count);
        return;
    }
    std::uint64_t& large = overflow_[cluster];
    if (stored != saturated) large = stored;
    large += count;
    stored = saturated;
}

void ReferenceCounts::add(ClusterNumber cluster, Owner owner, std::uint64_t times) {
    Page* page = page_of(cluster);
    if (page == nullptr) return;
    count(cluster, *page, times);
    std::uint8_t& flags = page->flags[cluster.count() % clusters_per_page];
    const std::uint8_t mine = owner == Owner::data ? is_data : owner == Owner::l2_table ? is_l2 : is_metadata;
    const auto others = static_cast<std::uint8_t>((is_data | is_l2 | is_metadata) & ~(mine == is_metadata ? 0 : mine));
    if ((flags & others) != 0) flags |= overlapping;
    flags |= mine;
}

void ReferenceCounts::add_active(ClusterNumber cluster, Owner owner, bool is_copied, std::uint64_t times) {
    add(cluster, owner, times);
    Page* page = page_of(cluster);
    if (page == nullptr) return;
    std::uint8_t& flags = page->flags[cluster.count() % clusters_per_page];
    if ((flags & (copied | not_copied)) != 0 || times > 1) flags |= twice;
    flags |= is_copied ? copied : not_copied;
}

ReferenceCounts::Cluster ReferenceCounts::of(ClusterNumber cluster) const {
    const auto page = pages_.find(cluster.count() / clusters_per_page);
    if (page == pages_.end() || cluster < begin_ || cluster >= end_) return {};
    const std::size_t index = cluster.count() % clusters_per_page;
    Cluster result{page->second->counts[index], page->second->flags[index]};
    if (result.count == saturated) result.count = overflow_.at(cluster);
    return result;
}

std::optional<ClusterNumber> ReferenceCounts::next(ClusterNumber from) const {
    const auto page = pages_.lower_bound(from.count() / clusters_per_page);
    if (page == pages_.end()) return std::nullopt;
    return std::max(from, ClusterNumber{page->first * clusters_per_page});
}

} // namespace coppice::qcow2
