// Power is lost at every change that a cycle makes, in turn; then the host comes back and another cycle runs. Whatever
// reached the disk, every guest reads the same bytes before and after it, and in the end the tree is merged.

#include "tests/gc/power_cuts.h"
#include "tests/support/sr_builder.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

struct Scenario {
    std::string name;
    std::vector<ImageSpec> images; ///< parents first
    DirectionPolicy direction = DirectionPolicy::automatic;
    std::size_t images_left; ///< when all is merged

    friend void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }
};

/// base ← mid ← leaf, overlapping everywhere, with zeros that mask.
std::vector<ImageSpec> three(Format base, Format mid, Format leaf) {
    return {small_image(base, "base", {}, true, {fill_at(0_B, 40_KiB, 1), fill_at(100_KiB, 60_KiB, 2)}),
            small_image(mid, "mid", "base", true,
                        {fill_at(8_KiB, 12_KiB, 3), fill_at(104_KiB, 8_KiB, 0), fill_at(200_KiB, 4_KiB, 4)}),
            small_image(leaf, "leaf", "mid", false, {fill_at(12_KiB, 2_KiB, 5), fill_at(110_KiB, 20_KiB, 6)})};
}

/// base ← mid ← {left, right}.
std::vector<ImageSpec> fork(Format format) {
    return {small_image(format, "base", {}, true, {fill_at(0_B, 40_KiB, 1), fill_at(100_KiB, 60_KiB, 2)}),
            small_image(format, "mid", "base", true, {fill_at(8_KiB, 12_KiB, 3), fill_at(104_KiB, 8_KiB, 0)}),
            small_image(format, "left", "mid", false, {fill_at(12_KiB, 2_KiB, 5)}),
            small_image(format, "right", "mid", false, {fill_at(128_KiB, 8_KiB, 6)}),
            small_image(format, "trash", "base", true, {fill_at(0_B, 8_KiB, 7)})};
}

std::vector<ImageSpec> grown(Format format) {
    return {small_image(format, "base", {}, true, {fill_at(0_B, 100_KiB, 1)}, 128_KiB),
            small_image(format, "mid", "base", true, {fill_at(8_KiB, 4_KiB, 3)}, 64_KiB),
            small_image(format, "leaf", "mid", false, {fill_at(200_KiB, 4_KiB, 5)}, 256_KiB)};
}

std::vector<Scenario> scenarios() {
    using enum Format;
    using enum DirectionPolicy;
    return {
        {"VhdDown", three(vhd, vhd, vhd), down, 1},
        {"VhdUp", three(vhd, vhd, vhd), up, 1},
        {"Qcow2Down", three(qcow2, qcow2, qcow2), down, 1},
        {"Qcow2Up", three(qcow2, qcow2, qcow2), up, 1},
        {"Qcow2OverVhdUp", three(vhd, qcow2, qcow2), up, 1},
        {"Qcow2OverVhdAutomatic", three(vhd, vhd, qcow2), automatic, 1},
        {"VhdForkDown", fork(vhd), down, 3},
        {"VhdForkUp", fork(vhd), up, 3},
        {"Qcow2ForkDown", fork(qcow2), down, 3},
        {"Qcow2ForkUp", fork(qcow2), up, 3},
        {"VhdGrown", grown(vhd), down, 1},
        {"VhdGrownUp", grown(vhd), up, 1},
        {"Qcow2Grown", grown(qcow2), down, 1},
        {"Qcow2GrownUp", grown(qcow2), up, 1},
    };
}

class CycleCrash : public testing::TestWithParam<std::tuple<Scenario, Unsynced>> {};

TEST_P(CycleCrash, AnyChangeMayBeTheLast) { // INV-1, INV-3
    const auto& [scenario, unsynced] = GetParam();
    MemoryStorage original;
    for (const ImageSpec& spec : scenario.images)
        build(original, spec);
    const GuestBytes expected = visible_disks(original);
    Policy policy;
    policy.direction = scenario.direction;

    const auto merge = [&policy](MemoryStorage& storage, const TemporaryDirectory& state) {
        const Outcome outcome = run_cycle(storage, state, policy);
        for (const StepResult& failed : outcome.failed)
            ADD_FAILURE() << failed.error;
    };
    const std::size_t images_left = scenario.images_left;
    lose_power_at_every_change(original, unsynced, 7, merge, [&](const Rebooted& found) {
        if (!found.finished) merge(found.storage, found.state);
        ASSERT_TRUE(visible_disks(found.storage) == expected) << "a guest reads other bytes";
        ASSERT_EQ(found.storage.names().size(), images_left);
    });
}

std::string case_name(const testing::TestParamInfo<CycleCrash::ParamType>& info) {
    const auto& [scenario, unsynced] = info.param;
    return scenario.name + name_of(unsynced);
}

INSTANTIATE_TEST_SUITE_P(Steps, CycleCrash,
                         testing::Combine(testing::ValuesIn(scenarios()),
                                          testing::Values(Unsynced::kept, Unsynced::lost, Unsynced::torn)),
                         case_name);

} // namespace
} // namespace coppice::test
