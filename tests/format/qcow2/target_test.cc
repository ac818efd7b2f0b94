#include "format/qcow2/target.h"

#include "format/base/error.h"
#include "format/qcow2/check.h"
#include "format/qcow2/image.h"
#include "tests/format/qcow2/target_world.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

Geometry plain(unsigned cluster_bits) {
    Geometry geometry;
    geometry.cluster_bits = cluster_bits;
    return geometry;
}

ModelWrite all_of(Bytes size) {
    return {{0_B, size}, GuestWrite::Source::device};
}

/// A stop, or a failure of the source, in the middle of the data.
class StoppingMover final : public DataMover {
public:
    void move(BlockDevice&, std::span<const Transfer>) override { throw StopRequested{}; }
    MovedBytes moved() const override { return {}; }
};

/// Not known to the product as a failure that can be handled.
struct Unheard {};
class UnheardMover final : public DataMover {
public:
    void move(BlockDevice&, std::span<const Transfer>) override { throw Unheard{}; }
    MovedBytes moved() const override { return {}; }
};

class Qcow2Target : public testing::Test {
protected:
    std::mt19937_64 random{7};
    BufferedMover mover{BufferedMover::Sharing::never, 64_KiB};
    MemoryEditLog log;
};

TEST_F(Qcow2Target, StaysInsideADeviceAndItsJunk) {
    TargetWorld world{plain(12), 256_KiB, 256_KiB, random};
    auto model = world.guest();
    const std::size_t image_size = world.file->bytes.size();
    world.file->bytes.resize((image_size + 300 * 1024) / 512 * 512);
    for (std::size_t at = image_size; at < world.file->bytes.size(); ++at)
        world.file->bytes[at] = std::byte{0xE7};
    world.file->flush();
    const std::size_t device_size = world.file->bytes.size();
    MemoryDevice device{world.file, "target", nullptr, true};
    const Beneath beneath{*world.beneath, *world.beneath};
    const auto target = qcow2::merge_target(device, log);
    target->prepare();
    for (unsigned batches = 0; batches < 6; ++batches) {
        const auto batch = world.random_batch(256_KiB, random);
        target->write(world.writes(batch), beneath, mover);
        world.apply_to_model(batch, model);
        ASSERT_EQ(first_difference(world.guest(), model), std::nullopt);
    }
    target->finish(MergeTarget::Becomes::child);
    EXPECT_EQ(world.file->bytes.size(), device_size);
    std::string output;
    EXPECT_EQ(world.qemu_check(&output), 0) << output;
}

TEST_F(Qcow2Target, TellsThatADeviceIsFullBeforeItWrites) {
    TargetWorld world{plain(12), 1_MiB, 256_KiB, random};
    world.file->bytes.resize((world.file->bytes.size() + 64 * 1024) / 4096 * 4096);
    world.file->flush();
    auto model = world.guest();
    MemoryDevice device{world.file, "target", nullptr, true};
    const Beneath beneath{*world.beneath, *world.beneath};
    const auto target = qcow2::merge_target(device, log);
    target->prepare();
    const auto before = world.file->bytes;
    EXPECT_THROW(target->write(world.writes({all_of(1_MiB)}), beneath, mover), NoSpace);
    EXPECT_EQ(world.file->bytes, before);
    EXPECT_THROW(target->grow(100_GiB, beneath, mover), NoSpace);
    EXPECT_EQ(first_difference(world.guest(), model), std::nullopt);
    // What fits is still possible.
    const std::vector<ModelWrite> few{{{0_B, 8_KiB}, GuestWrite::Source::memory}};
    target->write(world.writes(few), beneath, mover);
    world.apply_to_model(few, model);
    target->finish(MergeTarget::Becomes::child);
    EXPECT_EQ(first_difference(world.guest(), model), std::nullopt);
    EXPECT_EQ(qcow2::check(device).verdict, Verdict::ok);
}

TEST_F(Qcow2Target, LeavesNothingBehindWhenStopped) {
    TargetWorld world{plain(9), 512_KiB, 256_KiB, random};
    const auto before = world.guest();
    const auto device = world.device();
    const Beneath beneath{*world.beneath, *world.beneath};
    const auto target = qcow2::merge_target(*device, log);
    target->prepare();
    StoppingMover stopping;
    EXPECT_THROW(target->write(world.writes({all_of(512_KiB)}), beneath, stopping), StopRequested);
    target->finish(MergeTarget::Becomes::child);
    EXPECT_EQ(qcow2::check(*device).verdict, Verdict::ok);
    EXPECT_EQ(first_difference(world.guest(), before), std::nullopt);
}

TEST_F(Qcow2Target, IsNotUsedAfterAFailureOfAnUnknownKind) {
    TargetWorld world{plain(9), 512_KiB, 256_KiB, random};
    const auto before = world.guest();
    const auto device = world.device();
    const Beneath beneath{*world.beneath, *world.beneath};
    const auto target = qcow2::merge_target(*device, log);
    target->prepare();
    UnheardMover unheard;
    EXPECT_THROW(target->write(world.writes({all_of(512_KiB)}), beneath, unheard), Unheard);
    EXPECT_THROW(target->write(world.writes({all_of(512_KiB)}), beneath, mover), Error);
    EXPECT_THROW(target->finish(MergeTarget::Becomes::child), Error);
    EXPECT_EQ(first_difference(world.guest(), before), std::nullopt);
}

TEST_F(Qcow2Target, RefusesADiskTooLargeForItsClusters) {
    TargetWorld world{plain(9), 512_KiB, 256_KiB, random};
    const auto device = world.device();
    const Beneath beneath{*world.beneath, *world.beneath};
    const auto target = qcow2::merge_target(*device, log);
    target->prepare();
    const auto before = world.file->bytes;
    try {
        target->grow(129_GiB, beneath, mover);
        FAIL() << "has grown";
    } catch (const Refused& refused) {
        EXPECT_EQ(refused.code(), "virtual-size");
    }
    EXPECT_EQ(world.file->bytes, before);
    EXPECT_NO_THROW(target->grow(128_GiB, beneath, mover));
    target->finish(MergeTarget::Becomes::child);
    EXPECT_EQ(qcow2::check(*device).verdict, Verdict::ok);
}

// Pulls everything beneath up into the target: afterwards it reads the same without a parent, and did so all the time
// with it.
TEST_F(Qcow2Target, PullsItsParentUp) {
    for (unsigned seed = 1; seed <= 12; ++seed) {
        random.seed(seed);
        Geometry geometry = random_geometry(random);
        geometry.backing = true;
        TargetWorld world{geometry, 300_KiB + 512_B, 200_KiB + 512_B, random};
        SCOPED_TRACE("seed " + std::to_string(seed) + ": " + geometry.text());
        const auto before = world.guest();
        const auto device = world.device();
        const EmptyView nothing;
        const Beneath beneath{*world.beneath, nothing};
        const auto target = qcow2::merge_target(*device, log);
        const auto image = qcow2::open(world.device());
        target->prepare();
        std::vector<GuestWrite> writes;
        Bytes at;
        const auto gap_until = [&](Bytes end) {
            const ByteRange gap = intersection({at, end}, {0_B, world.base->virtual_size()});
            if (gap.empty()) return;
            for (const MapRun& run : world.base->map(gap)) {
                const bool data = run.content == Content::data;
                writes.push_back({run.guest,
                                  data ? GuestWrite::Source::device : GuestWrite::Source::zeros,
                                  data ? &world.base->device() : nullptr,
                                  run.host,
                                  {}});
            }
        };
        for (const MapRun& run : image->map({0_B, image->virtual_size()})) {
            gap_until(run.guest.begin);
            at = run.guest.end;
        }
        gap_until(image->virtual_size());
        target->write(writes, beneath, mover);
        target->finish(MergeTarget::Becomes::root);
        EXPECT_EQ(first_difference(world.guest(), before), std::nullopt);
        EXPECT_EQ(first_difference(world.guest(TargetWorld::Through::alone), before), std::nullopt);
        std::string output;
        EXPECT_EQ(world.qemu_check(&output), 0) << output;
    }
}

} // namespace
} // namespace coppice::test
