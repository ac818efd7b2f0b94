#include "format/qcow2/refcounts.h"

#include "format/base/error.h"
#include "format/qcow2/allocator.h"
#include "tests/format/qcow2/tiny_image.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace coppice::test {
namespace {

using namespace qcow2;

constexpr std::uint64_t cluster = TinyImage::cluster;

TEST(Qcow2Refcounts, KeepsValuesOfEveryWidth) {
    for (unsigned order = 0; order <= 6; ++order) {
        std::vector<std::byte> block(512, std::byte{0xA5});
        const std::uint64_t entries = (512 * 8) >> order;
        const std::uint64_t largest = order == 6 ? ~0ULL : (1ULL << (1U << order)) - 1;
        for (std::uint64_t index = 0; index < entries; ++index)
            encode_refcount(block, index, order, (index * 0x9E3779B97F4A7C15) & largest);
        for (std::uint64_t index = 0; index < entries; ++index)
            EXPECT_EQ(decode_refcount(block, index, order), (index * 0x9E3779B97F4A7C15) & largest) << order;
    }
}

TEST(Qcow2Refcounts, PacksNarrowOnesFromTheLeastSignificantBit) {
    std::vector<std::byte> block(8);
    encode_refcount(block, 0, 0, 1);
    encode_refcount(block, 9, 0, 1);
    EXPECT_EQ(block[0], std::byte{1});
    EXPECT_EQ(block[1], std::byte{2});
    encode_refcount(block, 3, 2, 0xC); // 4 bits wide: the high half of byte 1
    EXPECT_EQ(block[1], std::byte{0xC2});
    encode_refcount(block, 1, 4, 0x1234);
    EXPECT_EQ(block[2], std::byte{0x12});
    EXPECT_EQ(block[3], std::byte{0x34});
}

TEST(Qcow2Refcounts, RejectsBlocksAtImpossiblePlaces) {
    for (const std::uint64_t bad : {std::uint64_t{100}, std::uint64_t{1} << 40, ~std::uint64_t{511}}) {
        TinyImage image{4};
        const std::uint64_t entry = boost::endian::native_to_big(bad);
        std::memcpy(image.file->bytes.data() + cluster + 8, &entry, sizeof entry);
        const auto device = image.device();
        EXPECT_THROW((Refcounts{*device, image.header}), CorruptImage) << bad;
    }
}

// Appending until the refcount table has moved several times: every cluster handed out once, everything counted once.
TEST(Qcow2Allocator, CountsItsOwnTables) {
    for (unsigned order = 0; order <= 6; ++order) {
        TinyImage image{order};
        const auto device = image.device();
        Refcounts counts{*device, image.header};
        Allocator allocator{*device, image.header, counts};
        std::vector<ClusterNumber> mine;
        for (unsigned round = 0; round < 40; ++round) {
            for (unsigned taken = 0; taken < 300; ++taken)
                mine.push_back(allocator.take());
            allocator.reserve();
            allocator.commit();
            allocator.settle();
        }
        allocator.cover_end();
        device->flush();
        std::ranges::sort(mine);
        EXPECT_EQ(std::ranges::adjacent_find(mine), mine.end());
        Refcounts read{*device, image.header};
        std::uint64_t used = 1 + image.header.refcount_table_clusters;
        for (std::uint64_t block = 0; block < read.table_entries(); ++block)
            used += read.has_block(block) ? 1 : 0;
        std::uint64_t counted = 0;
        for (std::uint64_t at = 0; at < read.end().count(); ++at) {
            ASSERT_LE(read.get(ClusterNumber{at}), 1U);
            counted += read.get(ClusterNumber{at});
        }
        for (const ClusterNumber number : mine)
            ASSERT_EQ(read.get(number), 1U);
        // A table that has moved gives its former place back with the next commit.
        allocator.reserve();
        allocator.commit();
        EXPECT_GE(counted, mine.size() + used) << order;
        EXPECT_LE(counted, mine.size() + used + image.header.refcount_table_clusters) << order;
    }
}

TEST(Qcow2Allocator, FailsBeforeAnythingChanged) {
    TinyImage image{4};
    image.file->bytes.resize(10 * cluster, std::byte{0xEE});
    image.file->flush();
    const auto before = image.file->bytes;
    const auto device = image.device(true);
    Refcounts counts{*device, image.header};
    Allocator allocator{*device, image.header, counts};
    for (unsigned taken = 0; taken < 7; ++taken)
        allocator.take();
    EXPECT_THROW(allocator.take(), NoSpace);
    allocator.abandon();
    EXPECT_EQ(image.file->bytes, before);
    EXPECT_EQ(allocator.end(), ClusterNumber{3});
    EXPECT_EQ(allocator.take_run(7).first, ClusterNumber{3});
}

TEST(Qcow2Allocator, ReusesWhatIsFreeWhenADeviceIsFull) {
    TinyImage image{4};
    image.file->bytes.resize(12 * cluster, std::byte{0xEE});
    image.file->flush();
    const auto device = image.device(true);
    Refcounts counts{*device, image.header};
    Allocator allocator{*device, image.header, counts};
    std::vector<ClusterNumber> mine;
    for (unsigned taken = 0; taken < 9; ++taken)
        mine.push_back(allocator.take());
    allocator.reserve();
    allocator.commit();
    allocator.settle();
    allocator.release(mine[2]);
    allocator.release(mine[5]);
    EXPECT_EQ(allocator.take(), mine[2]);
    EXPECT_EQ(allocator.take(), mine[5]);
    EXPECT_THROW(allocator.take(), NoSpace);
    EXPECT_THROW(allocator.release(mine[2]), CorruptImage);
}

TEST(Qcow2Allocator, PutsNothingBehindALengthThatIsHeld) {
    TinyImage image{4};
    const auto device = image.device();
    device->set_size(Bytes{10 * cluster});
    device->hold_length();
    device->set_size(Bytes{20 * cluster}); // what no reader looks at may be there
    Refcounts counts{*device, image.header};
    Allocator allocator{*device, image.header, counts};
    for (unsigned taken = 0; taken < 7; ++taken)
        allocator.take();
    EXPECT_THROW(allocator.take(), NoSpace);
}

TEST(Qcow2Allocator, GivesTheTailBack) {
    TinyImage image{4};
    const auto device = image.device();
    Refcounts counts{*device, image.header};
    Allocator allocator{*device, image.header, counts};
    const ClusterRun run = allocator.take_run(6);
    allocator.reserve();
    allocator.commit();
    allocator.settle();
    for (ClusterNumber at = run.first; at < run.end(); at += ClusterNumber{1})
        allocator.release(at);
    EXPECT_EQ(allocator.end(), ClusterNumber{3});
}

} // namespace
} // namespace coppice::test
