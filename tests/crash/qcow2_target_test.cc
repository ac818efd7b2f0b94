// Power is lost at every change that a merge makes to a QCOW2 image: the image stays valid, guest bytes change only
// where something was written, and doing it again ends without leaks.
#include "format/qcow2/check.h"
#include "format/qcow2/image.h"
#include "format/qcow2/target.h"
#include "tests/format/qcow2/target_world.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

struct Scenario {
    std::string name;
    Geometry geometry;
    Bytes size;
    Bytes base_size;
    Bytes grown; ///< the same as size: does not grow
    unsigned batches = 3;

    friend void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }
};

/// What a merge does, as a value, so that it can be done again.
struct Script {
    Bytes grown;
    std::vector<std::vector<ModelWrite>> batches;
};

class TargetCrash : public testing::TestWithParam<Scenario> {
protected:
    static void perform(const TargetWorld& world, const Script& script, PowerSupply* power) {
        const auto device = world.device(power);
        BufferedMover mover{BufferedMover::Sharing::never, 64_KiB};
        MemoryEditLog log;
        const Beneath beneath{*world.beneath, *world.beneath};
        const auto target = qcow2::merge_target(*device, log);
        target->prepare();
        target->grow(script.grown, beneath, mover);
        for (const auto& batch : script.batches)
            target->write(world.writes(batch), beneath, mover);
        target->finish(MergeTarget::Becomes::child);
    }

    static std::vector<bool> written_sectors(const Script& script) {
        std::vector<bool> written(script.grown / sector_size);
        for (const auto& batch : script.batches)
            for (const ModelWrite& write : batch)
                for (std::uint64_t at = write.guest.begin / sector_size; at < write.guest.end / sector_size; ++at)
                    written[at] = true;
        return written;
    }
};

/// Every sector is as before or one of the states that the batches give it.
void expect_explained(std::span<const std::byte> now, const std::vector<std::vector<std::byte>>& states,
                      const std::vector<bool>& written) {
    const std::size_t former = states.front().size();
    ASSERT_LE(now.size(), states.back().size());
    for (std::size_t at = 0; at < now.size(); at += 512) {
        const auto sector = now.subspan(at, 512);
        bool explained = at < former && std::ranges::equal(sector, std::span{states.front()}.subspan(at, 512));
        explained = explained || (at >= former && all_zero(sector));
        if (written[at / 512])
            for (std::size_t state = 1; state < states.size() && !explained; ++state)
                explained = std::ranges::equal(sector, std::span{states[state]}.subspan(at, 512));
        ASSERT_TRUE(explained) << "guest byte " << at;
    }
}

/// What stands behind the L1 table in its last cluster has no meaning.
void spoil_behind_l1(MemoryFile& file) {
    const auto number = [&](std::size_t at, std::size_t length) {
        std::uint64_t value = 0;
        for (; length > 0; --length)
            value = value << 8 | std::to_integer<std::uint64_t>(file.bytes[at++]);
        return value;
    };
    const std::uint64_t cluster = 1ULL << number(20, 4);
    const std::uint64_t end = number(40, 8) + number(36, 4) * 8;
    const std::uint64_t cluster_end = (end + cluster - 1) / cluster * cluster;
    if (file.bytes.size() < cluster_end) file.bytes.resize(cluster_end);
    std::fill(file.bytes.begin() + static_cast<std::ptrdiff_t>(end),
              file.bytes.begin() + static_cast<std::ptrdiff_t>(cluster_end), std::byte{0x9D});
}

TEST_P(TargetCrash, AnyChangeMayBeTheLast) {
    const Scenario& scenario = GetParam();
    std::mt19937_64 random{20};
    TargetWorld world{scenario.geometry, scenario.size, scenario.base_size, random};
    spoil_behind_l1(*world.file);
    const std::vector<std::byte> image = world.file->bytes;
    Script script{scenario.grown, {}};
    std::vector<std::vector<std::byte>> states{world.guest()};
    for (unsigned count = 0; count < scenario.batches; ++count) {
        script.batches.push_back(world.random_batch(scenario.grown, random));
        auto next = states.back();
        next.resize(scenario.grown.count());
        world.apply_to_model(script.batches.back(), next);
        states.push_back(std::move(next));
    }
    states.push_back(states.back());
    states.back().resize(scenario.grown.count());
    const auto written = written_sectors(script);
    PowerSupply counting;
    perform(world, script, &counting);
    ASSERT_EQ(first_difference(world.guest(), states.back()), std::nullopt);
    // Of long runs a sample; of short ones everything, and several ways of tearing.
    const std::uint64_t step = std::max<std::uint64_t>(counting.changes() / 60, 1);
    std::vector<Unsynced> cuts{Unsynced::kept, Unsynced::lost, Unsynced::torn};
    if (step == 1) cuts.insert(cuts.end(), 6, Unsynced::torn);

    for (std::uint64_t kept = 0; kept < counting.changes(); kept += 1 + random() % step) {
        for (const Unsynced unsynced : cuts) {
            SCOPED_TRACE("power lost after " + std::to_string(kept) + " changes, unsynced " +
                         std::to_string(static_cast<int>(unsynced)));
            world.file->bytes = image;
            world.file->flush();
            PowerSupply power;
            power.fail_after(kept);
            ASSERT_THROW(perform(world, script, &power), PowerLost);
            world.file->lose_power(unsynced, random);
            const auto device = world.device();
            const CheckReport report = qcow2::check(*device);
            ASSERT_TRUE(report.verdict == Verdict::ok || report.verdict == Verdict::leaks)
                << report.findings.front().code << " " << report.findings.front().text;
            ASSERT_NO_FATAL_FAILURE(expect_explained(world.guest(), states, written));
            perform(world, script, nullptr);
            ASSERT_EQ(first_difference(world.guest(), states.back()), std::nullopt);
            const CheckReport after = qcow2::check(*device);
            ASSERT_EQ(after.verdict, Verdict::ok) << after.findings.front().code << " " << after.findings.front().text;
        }
    }
    std::string output;
    EXPECT_EQ(world.qemu_check(&output), 0) << output;
    EXPECT_EQ(first_difference(world.qemu_guest(), states.back()), std::nullopt);
}

Geometry geometry(unsigned version, unsigned cluster_bits, unsigned refcount_bits) {
    Geometry result;
    result.version = version;
    result.cluster_bits = cluster_bits;
    result.refcount_bits = refcount_bits;
    return result;
}

Geometry with(Geometry geometry, bool Geometry::*property) {
    geometry.*property = true;
    return geometry;
}

Geometry without_backing(Geometry geometry) {
    geometry.backing = false;
    return geometry;
}

INSTANTIATE_TEST_SUITE_P(
    Qcow2, TargetCrash,
    testing::Values(Scenario{"Plain", geometry(3, 16, 16), 1_MiB, 1_MiB, 1_MiB},
                    // Refcount blocks of 32 KiB each, a refcount table that has to move, an L1 table that has to move.
                    Scenario{"TablesMove", geometry(3, 9, 64), 1_MiB, 2_MiB, 5_MiB},
                    Scenario{"GrowsInPlace", without_backing(geometry(3, 12, 16)), 1_MiB, 1_MiB, 6_MiB, 0},
                    Scenario{"GrowsWithMovingL1", without_backing(geometry(3, 9, 16)), 128_KiB, 128_KiB, 4_MiB, 0},
                    Scenario{"Version2", geometry(2, 12, 16), 256_KiB, 300_KiB, 400_KiB},
                    Scenario{"OneBitCounts", geometry(3, 9, 1), 128_KiB, 128_KiB, 200_KiB},
                    Scenario{"Compressed", with(geometry(3, 12, 16), &Geometry::compressed), 256_KiB, 256_KiB, 256_KiB},
                    Scenario{"Subclusters", with(geometry(3, 14, 16), &Geometry::extended), 512_KiB, 512_KiB, 600_KiB},
                    Scenario{"CompressedSubclusters",
                             with(with(geometry(3, 14, 16), &Geometry::extended), &Geometry::compressed), 512_KiB,
                             512_KiB, 512_KiB}),
    [](const auto& parameter) { return parameter.param.name; });

} // namespace
} // namespace coppice::test
