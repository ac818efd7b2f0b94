// Between a crash and the next run sm goes on: it takes a snapshot of the leaf, which gives the leaf's name to a new,
// empty image, or the storage brings back an older state of the target. What the journal remembers is not about these.

#include "tests/gc/cycle_world.h"
#include "tests/support/sr_builder.h"

#include "format/base/header_edit.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

constexpr Bytes size = 256_KiB;

ImageSpec image(Format format, std::string name, std::optional<std::string> parent, bool hidden,
                std::vector<Fill> fills) {
    ImageSpec spec;
    spec.name = std::move(name);
    spec.format = format;
    spec.parent = std::move(parent);
    spec.hidden = hidden;
    spec.size = size;
    spec.fills = std::move(fills);
    spec.cluster_bits = 12;
    spec.block_size = 64_KiB;
    return spec;
}

void build_chain(MemoryStorage& storage, Format format) {
    build(storage, image(format, "gold", {}, false, {{ByteRange::at(0_B, 200_KiB), 1}}));
    build(storage, image(format, "mid", "gold", true, {{ByteRange::at(8_KiB, 24_KiB), 2}}));
    build(storage, image(format, "leaf", "mid", false, {{ByteRange::at(64_KiB, 100_KiB), 3}}));
}

/// As sm does it: the leaf becomes a hidden base under a new name, and a new leaf stands on it.
void take_snapshot(MemoryStorage& storage, Format format) {
    const ImageSpec base = image(format, "base", {}, true, {});
    const ImageSpec leaf = image(format, "leaf", "base", false, {});
    storage.rename(file_of(leaf), file_of(base));
    const auto renamed = open_image(storage.open(file_of(base), Access::read_write), format);
    apply(renamed->device(), renamed->with_hidden(true));
    build(storage, leaf);
    build(storage, image(format, "snapshot", "base", false, {}));
    storage.sync();
}

class CycleSnapshot : public testing::TestWithParam<std::tuple<Format, DirectionPolicy>> {};

TEST_P(CycleSnapshot, LeafIsAnotherImageAfterTheCrash) { // INV-1, INV-13
    const auto& [format, direction] = GetParam();
    MemoryStorage original;
    build_chain(original, format);
    Policy policy;
    policy.direction = direction;
    std::mt19937_64 random{11};
    for (std::uint64_t changes = 0;; ++changes) {
        SCOPED_TRACE("power lost after change " + std::to_string(changes));
        PowerSupply power;
        const auto storage = original.copy(&power);
        const TemporaryDirectory state;
        power.fail_after(changes);
        bool finished = false;
        try {
            run_cycle(*storage, state, policy);
            finished = true;
        } catch (const PowerLost&) {
        }
        power.never_fail();
        storage->lose_power(Unsynced::kept, random);
        if (finished) break;
        take_snapshot(*storage, format);
        const GuestBytes expected = visible_disks(*storage);
        run_cycle(*storage, state, policy);
        ASSERT_TRUE(visible_disks(*storage) == expected) << "a guest reads other bytes";
        run_cycle(*storage, state, policy);
        ASSERT_TRUE(visible_disks(*storage) == expected) << "a guest reads other bytes after another run";
    }
}

INSTANTIATE_TEST_SUITE_P(Formats, CycleSnapshot,
                         testing::Combine(testing::Values(Format::vhd, Format::qcow2),
                                          testing::Values(DirectionPolicy::automatic, DirectionPolicy::up)));

} // namespace
} // namespace coppice::test
