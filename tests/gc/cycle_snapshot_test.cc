// Between a crash and the next run sm goes on: it takes a snapshot of the leaf, which gives the leaf's name to a new,
// empty image, or the storage brings back an older state of the target. What the journal remembers is not about these.

#include "tests/gc/power_cuts.h"
#include "tests/support/sr_builder.h"

#include "format/base/header_edit.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

void build_chain(MemoryStorage& storage, Format format) {
    build(storage, small_image(format, "gold", {}, false, {fill_at(0_B, 200_KiB, 1)}));
    build(storage, small_image(format, "mid", "gold", true, {fill_at(8_KiB, 24_KiB, 2)}));
    build(storage, small_image(format, "leaf", "mid", false, {fill_at(64_KiB, 100_KiB, 3)}));
}

/// As sm does it: the leaf becomes a hidden base under a new name, and a new leaf stands on it.
void take_snapshot(MemoryStorage& storage, Format format) {
    const ImageSpec base = small_image(format, "base", {}, true, {});
    const ImageSpec leaf = small_image(format, "leaf", "base", false, {});
    storage.rename(file_of(leaf), file_of(base));
    const auto renamed = open_image(storage.open(file_of(base), Access::read_write), format);
    apply(renamed->device(), renamed->with_hidden(true));
    build(storage, leaf);
    build(storage, small_image(format, "snapshot", "base", false, {}));
    storage.sync();
}

class CycleSnapshot : public testing::TestWithParam<std::tuple<Format, DirectionPolicy>> {};

TEST_P(CycleSnapshot, LeafIsAnotherImageAfterTheCrash) { // INV-1, INV-13
    const auto& [format, direction] = GetParam();
    MemoryStorage original;
    build_chain(original, format);
    Policy policy;
    policy.direction = direction;
    const auto merge = [&policy](MemoryStorage& storage, const TemporaryDirectory& state) {
        run_cycle(storage, state, policy);
    };
    const Format leaf_format = format;
    lose_power_at_every_change(original, Unsynced::kept, 11, merge, [&](const Rebooted& found) {
        if (found.finished) return;
        take_snapshot(found.storage, leaf_format);
        const GuestBytes expected = visible_disks(found.storage);
        merge(found.storage, found.state);
        ASSERT_TRUE(visible_disks(found.storage) == expected) << "a guest reads other bytes";
        merge(found.storage, found.state);
        ASSERT_TRUE(visible_disks(found.storage) == expected) << "a guest reads other bytes after another run";
    });
}

INSTANTIATE_TEST_SUITE_P(Formats, CycleSnapshot,
                         testing::Combine(testing::Values(Format::vhd, Format::qcow2),
                                          testing::Values(DirectionPolicy::automatic, DirectionPolicy::up)));

} // namespace
} // namespace coppice::test
