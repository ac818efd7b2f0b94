#include "format/qcow2/image.h"
#include "format/qcow2/target.h"
#include "tests/format/qcow2/target_world.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace coppice::test {
namespace {

constexpr unsigned cases = 60;

/// COPPICE_SEED chooses other images than those of every day.
unsigned first_seed() {
    const char* chosen = std::getenv("COPPICE_SEED");
    return chosen == nullptr ? 1 : static_cast<unsigned>(std::strtoul(chosen, nullptr, 10));
}

Bytes random_size(const Geometry& geometry, std::mt19937_64& random) {
    const std::uint64_t cluster = 1ULL << geometry.cluster_bits;
    const std::uint64_t most = std::max<std::uint64_t>(6 * cluster, 256 * 1024);
    return sector_size * (1 + random() % (most / 512));
}

void expect_clean(const TargetWorld& world) {
    std::string output;
    EXPECT_EQ(world.qemu_check(&output), 0) << output;
}

// Random images, random batches: after each one the chain shows what the model says, and nothing leaks in the end.
TEST(Qcow2TargetModel, ShowsWhatWasWritten) {
    for (unsigned seed = first_seed(); seed < first_seed() + cases; ++seed) {
        std::mt19937_64 random{seed};
        const Geometry geometry = random_geometry(random);
        const Bytes size = random_size(geometry, random);
        TargetWorld world{geometry, size, random_size(geometry, random), random};
        SCOPED_TRACE("seed " + std::to_string(seed) + ": " + geometry.text() + ", size " +
                     std::to_string(size.count()));
        auto model = world.guest();
        BufferedMover mover{BufferedMover::Sharing::never, 64_KiB};
        const Beneath beneath{*world.beneath, *world.beneath};
        MemoryEditLog log;
        for (unsigned session = 0; session < 2; ++session) {
            const auto device = world.device();
            const auto target = qcow2::merge_target(*device, log);
            target->prepare();
            for (unsigned batches = 1 + static_cast<unsigned>(random() % 4); batches > 0; --batches) {
                if (random() % 4 == 0) {
                    model.resize(model.size() + 512 * (random() % (model.size() / 512 / 4 + 2)));
                    target->grow(Bytes{model.size()}, beneath, mover);
                    ASSERT_EQ(first_difference(world.guest(), model), std::nullopt)
                        << "after growing to " << model.size();
                }
                const auto batch =
                    world.random_batch(std::min(Bytes{model.size()}, Bytes{world.source_bytes.size()}), random);
                target->write(world.writes(batch), beneath, mover);
                world.apply_to_model(batch, model);
                ASSERT_EQ(first_difference(world.guest(), model), std::nullopt);
            }
            target->finish(MergeTarget::Becomes::child);
            ASSERT_EQ(first_difference(world.guest(), model), std::nullopt);
            expect_clean(world);
            if (HasFailure()) return;
        }
        if (seed % 4 == 0) {
            ASSERT_EQ(first_difference(world.qemu_guest(), model), std::nullopt);
        }
    }
}

} // namespace
} // namespace coppice::test
