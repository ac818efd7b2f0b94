// Stretches at the end of an image leave it: what is forgotten reads as what lies beneath, everything else as before,
// the image ends where it was computed to end, and power may be lost at any change on the way.
#include "format/qcow2/check.h"
#include "format/qcow2/forget.h"
#include "format/qcow2/image.h"
#include "format/qcow2/image_end.h"
#include "format/tail_space.h"
#include "tests/format/qcow2/target_world.h"

#include <gtest/gtest.h>

namespace coppice::qcow2 {
namespace {

using test::Geometry;
using test::TargetWorld;
using test::Unsynced;

Bytes counted_end(const TargetWorld& world) {
    const auto device = world.device();
    return image_end(*device, read_header(*device));
}

void forget_in(const TargetWorld& world, const RangeList& guest, test::PowerSupply* power = nullptr) {
    const auto device = world.device(power);
    test::MemoryEditLog log;
    forget(*device, log, guest);
}

/// Only what is forgotten, and it in whole clusters, may read as what lies beneath.
void expect_explained(const std::vector<std::byte>& now, const std::vector<std::byte>& before,
                      const std::vector<std::byte>& beneath, const RangeList& guest) {
    ASSERT_EQ(now.size(), before.size());
    for (std::size_t at = 0; at < now.size(); at += 512) {
        const auto part = [&](const std::vector<std::byte>& bytes) { return std::span{bytes}.subspan(at, 512); };
        bool explained = std::ranges::equal(part(now), part(before));
        for (const ByteRange& range : guest)
            if (range.contains(Bytes{at})) explained |= std::ranges::equal(part(now), part(beneath));
        ASSERT_TRUE(explained) << "guest byte " << at;
    }
}

std::vector<std::byte> beneath_of(const TargetWorld& world, std::size_t size) {
    std::vector<std::byte> bytes(size);
    if (world.beneath) world.beneath->read(0_B, bytes);
    return bytes;
}

RangeList mapped(const TargetWorld& world) {
    RangeList result;
    const auto image = open(world.device());
    for (const MapRun& run : image->map({0_B, image->virtual_size()}))
        add_range(result, run.guest);
    return result;
}

/// Fills the image further, by a merge, so that its tables and counts have grown as ours do.
void pour_into(const TargetWorld& world, std::mt19937_64& random) {
    const auto image = open(world.device());
    test::MemoryEditLog log;
    BufferedMover mover{BufferedMover::Sharing::never};
    const auto batch = world.random_batch(image->virtual_size(), random);
    const auto target = image->merge_target(log);
    target->prepare();
    target->write(world.writes(batch), {*world.beneath, *world.beneath}, mover);
    target->finish(MergeTarget::Becomes::child);
}

TEST(Forget, EndsWhereItWasComputed) {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        std::mt19937_64 random{seed};
        const Geometry geometry = test::random_geometry(random);
        SCOPED_TRACE("seed " + std::to_string(seed) + ", " + geometry.text());
        const TargetWorld world{geometry, 1_MiB, 1_MiB + 64_KiB, random};
        if (seed % 2 == 0) pour_into(world, random);
        for (Bytes end = counted_end(world); end > 0_B;) {
            end = end > 256_KiB ? end - Bytes{random() % (256_KiB).count()} : 0_B;
            const auto before = world.guest();
            const auto tail = open(world.device())->tail_space();
            const RangeList guest = tail->beyond(end);
            const RangeList kept = subtracted(mapped(world), guest);
            const Bytes computed = tail->end_without(guest);
            EXPECT_LE(computed, std::max(counted_end(world), end));
            forget_in(world, guest);
            ASSERT_NO_FATAL_FAILURE(expect_explained(world.guest(), before, beneath_of(world, before.size()), guest));
            EXPECT_EQ(mapped(world), kept);
            EXPECT_EQ(counted_end(world), computed);
            EXPECT_EQ(open(world.device())->tail_space()->end_without({}), computed);
            const CheckReport report = check(*world.device());
            ASSERT_EQ(report.verdict, Verdict::ok)
                << report.findings.front().code << " " << report.findings.front().text;
        }
        EXPECT_TRUE(mapped(world).empty());
        std::string output;
        EXPECT_EQ(world.qemu_check(&output), 0) << output;
    }
}

TEST(Forget, AnyChangeMayBeTheLast) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        std::mt19937_64 random{seed};
        Geometry geometry = test::random_geometry(random);
        if (seed % 2 == 0) geometry.cluster_bits = 9; // many refcount blocks
        if (geometry.cluster_bits < 14) geometry.extended = false;
        SCOPED_TRACE("seed " + std::to_string(seed) + ", " + geometry.text());
        const TargetWorld world{geometry, 512_KiB, 512_KiB, random};
        pour_into(world, random);
        const auto image = world.file->bytes;
        const auto before = world.guest();
        const auto beneath = beneath_of(world, before.size());
        const RangeList guest = open(world.device())->tail_space()->beyond(Bytes{counted_end(world).count() / 3});
        test::PowerSupply counting;
        forget_in(world, guest, &counting);
        const auto after = world.guest();
        ASSERT_GT(counting.changes(), 2U);
        for (std::uint64_t kept = 0; kept < counting.changes(); ++kept)
            for (const Unsynced unsynced : {Unsynced::kept, Unsynced::lost, Unsynced::torn, Unsynced::torn}) {
                SCOPED_TRACE("power lost after " + std::to_string(kept) + " changes, unsynced " +
                             std::to_string(static_cast<int>(unsynced)));
                world.file->bytes = image;
                world.file->flush();
                test::PowerSupply power;
                power.fail_after(kept);
                ASSERT_THROW(forget_in(world, guest, &power), test::PowerLost);
                world.file->lose_power(unsynced, random);
                const CheckReport report = check(*world.device());
                ASSERT_TRUE(report.verdict == Verdict::ok || report.verdict == Verdict::leaks)
                    << report.findings.front().code << " " << report.findings.front().text;
                ASSERT_NO_FATAL_FAILURE(expect_explained(world.guest(), before, beneath, guest));
                forget_in(world, guest);
                ASSERT_EQ(world.guest(), after);
                ASSERT_EQ(check(*world.device()).verdict, Verdict::ok);
            }
    }
}

} // namespace
} // namespace coppice::qcow2
