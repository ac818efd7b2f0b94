// Power is lost at every change that a cycle makes, in turn; then the host comes back and another cycle runs. Whatever
// reached the disk, every guest reads the same bytes before and after it, and in the end the tree is merged.

#include "tests/gc/cycle_world.h"
#include "tests/support/sr_builder.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

constexpr Bytes size = 256_KiB;

Fill at(Bytes begin, Bytes length, std::uint32_t seed) {
    return {ByteRange::at(begin, length), seed};
}

struct Scenario {
    std::string name;
    std::vector<ImageSpec> images; ///< parents first
    DirectionPolicy direction = DirectionPolicy::automatic;
    std::size_t images_left; ///< when all is merged

    friend void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }
};

ImageSpec image(Format format, std::string name, std::optional<std::string> parent, bool hidden,
                std::vector<Fill> fills, Bytes virtual_size = size) {
    ImageSpec spec;
    spec.name = std::move(name);
    spec.format = format;
    spec.parent = std::move(parent);
    spec.hidden = hidden;
    spec.size = virtual_size;
    spec.fills = std::move(fills);
    spec.cluster_bits = 12;
    spec.block_size = 64_KiB;
    return spec;
}

/// base ← mid ← leaf, overlapping everywhere, with zeros that mask.
std::vector<ImageSpec> three(Format base, Format mid, Format leaf) {
    return {image(base, "base", {}, true, {at(0_B, 40_KiB, 1), at(100_KiB, 60_KiB, 2)}),
            image(mid, "mid", "base", true, {at(8_KiB, 12_KiB, 3), at(104_KiB, 8_KiB, 0), at(200_KiB, 4_KiB, 4)}),
            image(leaf, "leaf", "mid", false, {at(12_KiB, 2_KiB, 5), at(110_KiB, 20_KiB, 6)})};
}

/// base ← mid ← {left, right}.
std::vector<ImageSpec> fork(Format format) {
    return {image(format, "base", {}, true, {at(0_B, 40_KiB, 1), at(100_KiB, 60_KiB, 2)}),
            image(format, "mid", "base", true, {at(8_KiB, 12_KiB, 3), at(104_KiB, 8_KiB, 0)}),
            image(format, "left", "mid", false, {at(12_KiB, 2_KiB, 5)}),
            image(format, "right", "mid", false, {at(128_KiB, 8_KiB, 6)}),
            image(format, "trash", "base", true, {at(0_B, 8_KiB, 7)})};
}

std::vector<ImageSpec> grown(Format format) {
    return {image(format, "base", {}, true, {at(0_B, 100_KiB, 1)}, 128_KiB),
            image(format, "mid", "base", true, {at(8_KiB, 4_KiB, 3)}, 64_KiB),
            image(format, "leaf", "mid", false, {at(200_KiB, 4_KiB, 5)}, 256_KiB)};
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

    std::mt19937_64 random{7};
    for (std::uint64_t changes = 0;; ++changes) {
        SCOPED_TRACE("power lost after change " + std::to_string(changes));
        PowerSupply power;
        const auto storage = original.copy(&power);
        const TemporaryDirectory state;
        power.fail_after(changes);
        bool finished = false;
        try {
            const Outcome outcome = run_cycle(*storage, state, policy);
            finished = true;
            for (const StepResult& failed : outcome.failed)
                ADD_FAILURE() << failed.error;
        } catch (const PowerLost&) {
        }
        power.never_fail();
        storage->lose_power(unsynced, random);
        if (!finished) {
            const Outcome outcome = run_cycle(*storage, state, policy);
            for (const StepResult& failed : outcome.failed)
                ADD_FAILURE() << failed.error;
        }
        const GuestBytes found = visible_disks(*storage);
        ASSERT_TRUE(found == expected) << "a guest reads other bytes";
        ASSERT_EQ(storage->names().size(), scenario.images_left);
        if (HasFailure() || finished) break;
    }
}

std::string case_name(const testing::TestParamInfo<CycleCrash::ParamType>& info) {
    const auto& [scenario, unsynced] = info.param;
    return scenario.name + (unsynced == Unsynced::kept ? "Kept" : unsynced == Unsynced::lost ? "Lost" : "Torn");
}

INSTANTIATE_TEST_SUITE_P(Steps, CycleCrash,
                         testing::Combine(testing::ValuesIn(scenarios()),
                                          testing::Values(Unsynced::kept, Unsynced::lost, Unsynced::torn)),
                         case_name);

} // namespace
} // namespace coppice::test
