#include "format/qcow2/reference_counts.h"

#include "format/qcow2/l2_entry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace coppice::test {
namespace {

using qcow2::Owner;
using qcow2::ReferenceCounts;

TEST(ReferenceCounts, CountsTheSameInManyRoundsAsInOne) {
    std::mt19937_64 random{7};
    std::vector<std::pair<std::uint64_t, std::uint64_t>> references;
    std::map<std::uint64_t, std::uint64_t> expected;
    for (int index = 0; index < 20000; ++index) {
        const std::uint64_t cluster = random() % (1ULL << 22);
        const std::uint64_t times = random() % 50 == 0 ? 60000 : 1;
        references.emplace_back(cluster, times);
        expected[cluster] += times;
        if (random() % 4 == 0) references.emplace_back(cluster, 1), ++expected[cluster];
    }
    for (const std::size_t pages : {1U, 3U, 100U, 5000U}) {
        SCOPED_TRACE(pages);
        ReferenceCounts counts{pages};
        std::map<std::uint64_t, std::uint64_t> found;
        std::uint64_t rounds = 0;
        for (ClusterNumber begin;; begin = counts.end()) {
            counts.begin(begin);
            ++rounds;
            for (const auto& [cluster, times] : references)
                counts.add(ClusterNumber{cluster}, Owner::data, times);
            for (auto at = counts.next(begin); at && *at < counts.end(); at = counts.next(*at + ClusterNumber{1}))
                if (const auto count = counts.of(*at).count; count != 0) found[at->count()] = count;
            if (counts.finished()) break;
        }
        EXPECT_EQ(found, expected);
        EXPECT_EQ(rounds > 1, pages < 1024);
    }
}

TEST(ReferenceCounts, NoticesWhatExcludesEachOther) {
    ReferenceCounts counts;
    counts.begin(ClusterNumber{});
    counts.add(ClusterNumber{1}, Owner::data);
    counts.add(ClusterNumber{1}, Owner::data);
    EXPECT_FALSE(counts.of(ClusterNumber{1}).overlap());
    counts.add(ClusterNumber{1}, Owner::l2_table);
    EXPECT_TRUE(counts.of(ClusterNumber{1}).overlap());
    counts.add(ClusterNumber{2}, Owner::refcounts);
    counts.add(ClusterNumber{2}, Owner::refcounts);
    EXPECT_TRUE(counts.of(ClusterNumber{2}).overlap());
    counts.add_active(ClusterNumber{3}, Owner::data, true);
    EXPECT_TRUE(counts.of(ClusterNumber{3}).flagged_copied());
    EXPECT_FALSE(counts.of(ClusterNumber{3}).named_twice());
    counts.add_active(ClusterNumber{3}, Owner::data, false);
    EXPECT_TRUE(counts.of(ClusterNumber{3}).flagged_shared());
    EXPECT_TRUE(counts.of(ClusterNumber{3}).named_twice());
}

TEST(Qcow2L2Entry, DecodesCompressedPlaces) {
    for (unsigned bits = 9; bits <= 21; ++bits) {
        const qcow2::L2Rules rules{3, bits, false, Bytes{1ULL << 40}};
        const unsigned shift = 62 - (bits - 8);
        const std::uint64_t offset = (1ULL << bits) * 3 + 100;
        const auto entry = qcow2::decode_l2_entry(qcow2::disk::compressed_flag | (1ULL << shift) | offset, 0, rules);
        EXPECT_TRUE(entry.compressed);
        EXPECT_EQ(entry.host, Bytes{offset});
        EXPECT_EQ(entry.stream_length, Bytes{2 * 512 - offset % 512});
        EXPECT_FALSE(entry.defect);
    }
}

TEST(Qcow2L2Entry, NeverMapsWhatItCallsDefective) {
    std::mt19937_64 random{3};
    for (int index = 0; index < 200000; ++index) {
        const unsigned bits = 9 + static_cast<unsigned>(random() % 13);
        const qcow2::L2Rules rules{2 + static_cast<unsigned>(random() % 2), bits, bits >= 14 && random() % 2 == 0,
                                   64_GiB};
        const std::uint64_t word = random() & random() & random();
        const auto entry = qcow2::decode_l2_entry(word, random() & random(), rules);
        if (entry.defect) continue;
        EXPECT_EQ(entry.data_units & entry.zero_units, 0U);
        if (entry.data_units != 0 || entry.compressed) {
            EXPECT_TRUE(entry.counts);
        }
        if (entry.counts) {
            EXPECT_LE(entry.host + (entry.compressed ? entry.stream_length : rules.cluster_size()), rules.limit);
        }
    }
}

} // namespace
} // namespace coppice::test
