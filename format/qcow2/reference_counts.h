// How often each host cluster of an image is referred to, found by walking everything that refers, in bounded memory.
//
// The walk is done in rounds. A round counts all references into a stretch of clusters that is as long as memory
// allows, and skips the others: begin() the first, walk, use counts(), then go on from end() until finished. Images
// whose counts fit into memory, which are nearly all, take one round.
#pragma once

#include "format/qcow2/header.h"

#include <array>
#include <cstdint>
#include <map>
#include <memory>

namespace coppice::qcow2 {

/// What refers to a cluster.
enum class Owner : std::uint8_t {
    header,
    refcounts, ///< refcount table and blocks
    tables,    ///< L1 tables, snapshot table, bitmap directory, tables and data
    l2_table,
    data,
};

class ReferenceCounts {
public:
    /// What is known of one cluster.
    struct Cluster {
        std::uint64_t count = 0;
        std::uint8_t flags = 0;

        bool flagged_copied() const { return (flags & copied) != 0; }
        bool flagged_shared() const { return (flags & not_copied) != 0; }
        /// Used for two purposes that exclude each other.
        bool overlap() const { return (flags & overlapping) != 0; }
        /// Named by two entries of the active tables.
        bool named_twice() const { return (flags & twice) != 0; }
    };
    static constexpr std::size_t clusters_per_page = 4096;

    /// At most `most_pages` pages of 12 KiB are in memory.
    explicit ReferenceCounts(std::size_t most_pages = 5000) : most_pages_{most_pages} {}

    /// Forgets all counts; references to clusters before `first` are skipped from now on.
    void begin(ClusterNumber first);
    /// All references to clusters of this round lie below; the largest number when nothing was left out.
    ClusterNumber end() const { return end_; }
    bool finished() const { return end_ == last_end; }

    /// `count` further references. For data and L2 tables of the active tables, `copied` tells their COPIED flag.
    void add(ClusterNumber cluster, Owner owner, std::uint64_t count = 1);
    void add_active(ClusterNumber cluster, Owner owner, bool is_copied, std::uint64_t count = 1);

    Cluster of(ClusterNumber cluster) const;
    /// The first cluster at or behind `from`, below end(), that may have references.
    std::optional<ClusterNumber> next(ClusterNumber from) const;

private:
    static constexpr ClusterNumber last_end{~0ULL};
    static constexpr std::uint16_t saturated = 0xFFFF; ///< the count is in overflow_

    enum : std::uint8_t {
        copied = 1,
        not_copied = 2,
        twice = 4,
        is_metadata = 8, ///< header, refcounts or tables: exclusive
        is_l2 = 16,
        is_data = 32,
        overlapping = 64,
    };

    struct Page {
        std::array<std::uint16_t, clusters_per_page> counts{};
        std::array<std::uint8_t, clusters_per_page> flags{};
    };

    Page* page_of(ClusterNumber cluster);
    void count(ClusterNumber cluster, Page& page, std::uint64_t count);

    std::size_t most_pages_;
    ClusterNumber begin_;
    ClusterNumber end_ = last_end;
    std::map<std::uint64_t, std::unique_ptr<Page>> pages_;
    std::map<ClusterNumber, std::uint64_t> overflow_;
    std::uint64_t last_number_ = 0; ///< of last_page_, which is null after a change of pages_
    Page* last_page_ = nullptr;
};

} // namespace coppice::qcow2
