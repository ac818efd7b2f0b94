// Power is lost at every change that counting new clusters makes, also while the refcount table moves.
#include "format/qcow2/allocator.h"
#include "tests/format/qcow2/tiny_image.h"

#include <boost/endian/conversion.hpp>
#include <gtest/gtest.h>

namespace coppice::test {
namespace {

using namespace qcow2;

constexpr std::uint64_t cluster = TinyImage::cluster;

/// The counts of 64 bits that the single cluster of the table has room for are nearly used up. The free stretches below
/// the end are too short to go back for.
TinyImage nearly_full_table() {
    TinyImage image{6};
    const std::uint64_t last = 62 * 64 + 50;
    image.file->bytes.resize((last + 1) * cluster);
    // Blocks 31 and 62 stand in the last two clusters of the image; one more cluster in the middle is in use.
    image.set_block(62, last);
    image.set_block(31, last - 1);
    encode_refcount(std::span{image.file->bytes}.subspan(last * cluster), 50, 6, 1);
    encode_refcount(std::span{image.file->bytes}.subspan(last * cluster), 49, 6, 1);
    encode_refcount(std::span{image.file->bytes}.subspan((last - 1) * cluster), 10, 6, 1);
    // Stale bytes where the next clusters are going to be.
    image.file->bytes.resize((last + 200) * cluster, std::byte{0xE7});
    const std::uint64_t offset = boost::endian::native_to_big(image.header.refcount_table_offset.count());
    std::memcpy(image.file->bytes.data() + 48, &offset, sizeof offset);
    image.file->bytes[59] = std::byte{1};
    image.file->flush();
    return image;
}

Header header_of(const TinyImage& image) {
    Header header = image.header;
    const auto field = [&](std::size_t at) {
        std::uint64_t value = 0;
        std::memcpy(&value, image.file->bytes.data() + at, sizeof value);
        return boost::endian::big_to_native(value);
    };
    header.refcount_table_offset = Bytes{field(48)};
    header.refcount_table_clusters = static_cast<std::uint32_t>(field(52));
    return header;
}

/// What is reachable from the header is complete, and counted; `taken` too.
void expect_counted(TinyImage& image, const std::vector<ClusterNumber>& taken) {
    const Header header = header_of(image);
    const auto device = image.device();
    const Refcounts counts{*device, header};
    EXPECT_EQ(counts.get(ClusterNumber{0}), 1U);
    for (std::uint64_t at = 0; at < header.refcount_table_clusters; ++at)
        EXPECT_EQ(counts.get(ClusterNumber{header.refcount_table_offset.count() / cluster + at}), 1U);
    for (std::uint64_t block = 0; block < counts.table_entries(); ++block) {
        if (!counts.has_block(block)) continue;
        std::uint64_t entry = 0;
        std::memcpy(&entry, image.file->bytes.data() + header.refcount_table_offset.count() + 8 * block, sizeof entry);
        EXPECT_EQ(counts.get(ClusterNumber{boost::endian::big_to_native(entry) / cluster}), 1U) << "block " << block;
        for (std::uint64_t at = block * 64; at < (block + 1) * 64; ++at)
            ASSERT_LE(counts.get(ClusterNumber{at}), 1U);
    }
    for (const ClusterNumber number : taken)
        ASSERT_EQ(counts.get(number), 1U) << number.count();
}

TEST(Qcow2AllocatorCrash, CountsAreCompleteAfterAnyChange) {
    std::mt19937_64 random{3};
    bool moved = false;
    for (std::uint64_t kept = 0;; ++kept) {
        bool finished = false;
        for (unsigned trial = 0; trial < 8; ++trial) {
            TinyImage image = nearly_full_table();
            PowerSupply power;
            power.fail_after(kept);
            std::vector<ClusterNumber> durable;
            try {
                const auto device = image.device(false, &power);
                Refcounts counts{*device, image.header};
                Allocator allocator{*device, image.header, counts};
                for (unsigned round = 0; round < 5; ++round) {
                    std::vector<ClusterNumber> taken;
                    for (unsigned index = 0; index < 45; ++index)
                        taken.push_back(allocator.take());
                    allocator.reserve();
                    allocator.commit();
                    device->flush();
                    allocator.settle();
                    durable.insert(durable.end(), taken.begin(), taken.end());
                }
                finished = true;
            } catch (const PowerLost&) {
            }
            image.file->lose_power(trial == 0 ? Unsynced::kept : trial == 1 ? Unsynced::lost : Unsynced::torn, random);
            SCOPED_TRACE("power lost after " + std::to_string(kept) + " changes, trial " + std::to_string(trial));
            ASSERT_NO_FATAL_FAILURE(expect_counted(image, durable));
            ASSERT_FALSE(HasFailure());
            moved = moved || header_of(image).refcount_table_clusters > 1;
        }
        if (finished) break;
    }
    EXPECT_TRUE(moved);
}

} // namespace
} // namespace coppice::test
