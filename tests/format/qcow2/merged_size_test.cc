// The computed end of an image after a merge, where QEMU has made the image: holes, compressed clusters, zeros with a
// place of their own, counts of any width.
#include "format/qcow2/image.h"
#include "format/qcow2/image_end.h"
#include "format/qcow2/merged_size.h"
#include "tests/format/qcow2/target_world.h"

#include <gtest/gtest.h>

namespace coppice::qcow2 {
namespace {

using test::Geometry;
using test::TargetWorld;

RangeList data_of(const Image* base) {
    RangeList result;
    if (base == nullptr) return result;
    for (const MapRun& run : base->map({0_B, base->virtual_size()}))
        if (run.content != Content::zero) add_range(result, run.guest);
    return result;
}

MergeInput input_of(const std::vector<test::ModelWrite>& batch, Bytes size, const RangeList& beneath) {
    MergeInput input;
    input.virtual_size = size;
    for (const test::ModelWrite& write : batch)
        add_range(write.source == GuestWrite::Source::zeros ? input.zeros : input.data, write.guest);
    input.beneath = input.beneath_now = beneath;
    return input;
}

/// The end as the counts of the image tell it.
Bytes counted_end(const TargetWorld& world) {
    const auto device = world.device();
    return image_end(*device, read_header(*device));
}

enum class Batch { data, anything };

struct Ends {
    Bytes computed;
    Bytes real;
};

Ends merge(const TargetWorld& world, Bytes size, Batch kind, std::mt19937_64& random) {
    auto batch = world.random_batch(size, random);
    if (kind == Batch::data)
        std::erase_if(batch, [](const auto& write) { return write.source == GuestWrite::Source::zeros; });
    const auto image = open(world.device());
    const Bytes grown = std::max(image->virtual_size(), size);
    const auto space = image->target_space();
    const Bytes computed = space->end_after(input_of(batch, grown, data_of(world.base.get())));
    test::MemoryEditLog log;
    BufferedMover mover{BufferedMover::Sharing::never};
    const auto target = image->merge_target(log);
    target->prepare();
    target->grow(grown, {*world.beneath, *world.beneath}, mover);
    target->write(world.writes(batch), {*world.beneath, *world.beneath}, mover);
    target->finish(MergeTarget::Becomes::child);
    EXPECT_EQ(world.device()->size(), counted_end(world));
    return {computed, counted_end(world)};
}

TEST(MergedSize, BoundsWhateverQemuHasMade) {
    for (std::uint64_t seed = 1; seed <= 15; ++seed) {
        std::mt19937_64 random{seed};
        const Geometry geometry = test::random_geometry(random);
        SCOPED_TRACE("seed " + std::to_string(seed) + ", " + geometry.text());
        const TargetWorld world{geometry, 1_MiB, 1_MiB + 64_KiB, random};
        for (int round = 0; round < 3; ++round) {
            const Ends ends = merge(world, 1_MiB + Bytes{512 * (random() % 1000)}, Batch::anything, random);
            EXPECT_GE(ends.computed, ends.real);
        }
    }
}

TEST(MergedSize, IsExactForDataOverImagesOfQemu) {
    for (std::uint64_t seed = 101; seed <= 108; ++seed) {
        std::mt19937_64 random{seed};
        Geometry geometry = test::random_geometry(random);
        geometry.compressed = geometry.zstd = false; // replaced ones are given back
        geometry.cluster_bits = std::max(geometry.cluster_bits, 12U);
        SCOPED_TRACE("seed " + std::to_string(seed) + ", " + geometry.text());
        const TargetWorld world{geometry, 1_MiB, 1_MiB, random};
        const Ends ends = merge(world, 1_MiB, Batch::data, random);
        EXPECT_EQ(ends.computed, ends.real);
    }
}

TEST(MergedSize, DoesNotCountOnThePlaceOfAnL1TableThatMoves) {
    // With the smallest clusters the table of such a disk is a stretch that is worth going back for.
    const test::TemporaryDirectory directory;
    const std::string path = directory / "image";
    test::must_run({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, "4G"});
    auto file = std::make_shared<test::MemoryFile>();
    file->bytes = test::read_whole(path);
    file->flush();
    const auto image = open(std::make_unique<test::MemoryDevice>(file, "image"));
    const std::vector<std::byte> data(Bytes{1_MiB}.count(), std::byte{7});
    MergeInput input;
    input.virtual_size = 4_GiB + 1_MiB;
    input.data = {{0_B, 1_MiB}};
    const Bytes computed = image->target_space()->end_after(input);
    const ChainView nothing{std::vector<const Image*>{}};
    test::MemoryEditLog log;
    BufferedMover mover{BufferedMover::Sharing::never};
    const auto target = image->merge_target(log);
    target->prepare();
    target->grow(input.virtual_size, {nothing, nothing}, mover);
    const GuestWrite write{{0_B, 1_MiB}, GuestWrite::Source::memory, nullptr, 0_B, data};
    target->write({&write, 1}, {nothing, nothing}, mover);
    target->finish(MergeTarget::Becomes::child);
    EXPECT_GE(computed.count(), file->bytes.size());
}

TEST(MergedSize, OfForgottenStretchesIsABound) {
    std::mt19937_64 random{7};
    const TargetWorld world{{}, 4_MiB, 4_MiB, random};
    const auto device = world.device();
    const Layer layer{*device};
    MergeInput input;
    input.virtual_size = 4_MiB;
    input.data = {{0_B, 4_MiB}};
    EXPECT_GT(merged_size(layer, 0)->end_after(input), merged_size(layer)->end_after(input));
}

TEST(AllocationModel, FillsLongHolesFirst) {
    HostMap host{64_KiB, 4, ClusterNumber{1000}, {{ClusterNumber{10}, 3}, {ClusterNumber{100}, 20}}, {true}};
    AllocationModel model{host};
    model.take(20);
    model.count();
    EXPECT_EQ(model.end(), ClusterNumber{1000});
    model.take(2); // not into the hole of three, which is too short to go back for
    model.count();
    EXPECT_EQ(model.end(), ClusterNumber{1002});
    model.take_run(3);
    EXPECT_EQ(model.end(), ClusterNumber{1002});
}

TEST(AllocationModel, CountsTheBlocksThatCountTheBlocks) {
    // Clusters of 512 bytes with counts of 64 bits: a block for each 64 clusters.
    HostMap host{512_B, 6, ClusterNumber{64}, {}, std::vector<bool>(64)};
    host.blocks[0] = true;
    AllocationModel model{host};
    model.take(62);
    model.count(); // with its own block the second 64 are nearly full
    EXPECT_EQ(model.end(), ClusterNumber{127});
    model.take(1);
    model.count();
    EXPECT_EQ(model.end(), ClusterNumber{128});
    model.take(63 * 32);
    model.count();
    EXPECT_EQ(model.end(), ClusterNumber{128 + 64 * 32});
    // 65 blocks do not fit into the table.
    model.take(64 * 64);
    model.count();
    EXPECT_GT(model.end().count(), 128 + 64 * 32 + 64 * 65U);
}

/// All the places of a table that grows by random steps, by the rule of Allocator::reserve().
std::uint64_t real_moves(std::uint64_t entries, std::uint64_t needed, Bytes cluster, std::mt19937_64& random) {
    std::uint64_t clusters = 0;
    while (entries < needed) {
        const std::uint64_t next =
            entries + 1 + random() % std::min<std::uint64_t>(needed - entries, 1 + random() % 64);
        const std::uint64_t place = units_needed(Bytes{8 * (next + next / 2 + 8)}, cluster);
        clusters += place;
        entries = place * (cluster.count() / 8);
    }
    return clusters;
}

TEST(AllocationModel, CountsEveryPlaceThatATableMayHaveHad) {
    std::mt19937_64 random{11};
    for (int round = 0; round < 3000; ++round) {
        const Bytes cluster{1ULL << (9 + random() % 4)};
        const std::uint64_t per_cluster = cluster.count() / 8;
        const std::uint64_t entries = per_cluster * (1 + random() % 20);
        const std::uint64_t needed = random() % (20 * entries);
        const std::uint64_t bound = table_moves(entries, needed, cluster);
        ASSERT_GE(bound, real_moves(entries, needed, cluster, random)) << entries << " to " << needed;
        ASSERT_EQ(bound == 0, needed <= entries);
        ASSERT_LE(bound, (9 * needed / 2 + 24) / per_cluster + 40);
    }
}

} // namespace
} // namespace coppice::qcow2
