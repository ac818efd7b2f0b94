// Merges in slices on a storage with hardly any room: images are volumes of whole units, power is lost here and there.
// Whatever happens, guests read the same bytes, no image is damaged, and in the end the tree is merged.
#include "format/check.h"
#include "tests/gc/power_cuts.h"
#include "tests/support/sr_builder.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

constexpr Bytes unit = 16_KiB;
constexpr Bytes size = 512_KiB;

struct Scenario {
    std::string name;
    Format format;
    DirectionPolicy direction;
    Bytes mid_size = size;

    friend void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }
};

std::vector<Fill> random_fills(Bytes end, std::uint64_t count, std::mt19937_64& random) {
    std::vector<Fill> fills;
    for (std::uint64_t number = 0; number < count; ++number) {
        const Bytes begin = 512_B * (random() % (end / 512_B));
        const Bytes length = std::min(end - begin, 512_B * (1 + random() % 80));
        fills.push_back(fill_at(begin, length, random() % 4 == 0 ? 0 : static_cast<std::uint32_t>(random())));
    }
    return fills;
}

/// root ← base ← mid ← {left, right}, where only mid and base have something to merge.
void build_fork(MemoryStorage& storage, const Scenario& scenario, std::mt19937_64& random) {
    const auto add = [&](const std::string& name, std::optional<std::string> parent, bool hidden, Bytes length,
                         std::uint64_t fills) {
        ImageSpec spec =
            small_image(scenario.format, name, std::move(parent), hidden, random_fills(length, fills, random), length);
        spec.cluster_bits = 9; // many tables and blocks of counts
        spec.block_size = 16_KiB;
        build(storage, spec);
    };
    add("root", {}, true, size, 8);
    add("other", "root", false, size, 2);
    add("base", "root", true, size, 12);
    add("mid", "base", true, scenario.mid_size, 16);
    add("left", "mid", false, size, 2);
    add("right", "mid", false, size, 2);
}

void expect_sound(MemoryStorage& storage) {
    for (const TreeNode& node : scan_sr(storage, ScanOptions{}).nodes) {
        ASSERT_EQ(node.state, NodeState::ok) << node.text;
        const CheckReport report = check_image(*storage.open(node.file, Access::read_only), node.format);
        ASSERT_TRUE(report.verdict == Verdict::ok || report.verdict == Verdict::leaks)
            << node.file << ": " << report.findings.front().code << " " << report.findings.front().text;
    }
}

class SlicedCycle : public testing::TestWithParam<std::tuple<Scenario, Unsynced>> {
protected:
    /// What a run has done, and where it has failed.
    Outcome run(MemoryStorage& storage, const TemporaryDirectory& state) {
        Policy policy;
        policy.direction = std::get<Scenario>(GetParam()).direction;
        policy.leaf_coalesce = false;
        return run_cycle(storage, state, policy);
    }
};

TEST_P(SlicedCycle, MergesWherePowerFails) {
    const auto& [scenario, unsynced] = GetParam();
    unsigned in_slices = 0;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937_64 random{seed};
        MemoryStorage original;
        build_fork(original, scenario, random);
        original.make_volumes(unit, 0_B, unit * 9);
        const GuestBytes expected = visible_disks(original);
        PowerSupply counting;
        const auto whole = original.copy(&counting);
        const TemporaryDirectory state;
        const Outcome outcome = run(*whole, state);
        for (const StepResult& failed : outcome.failed)
            ADD_FAILURE() << failed.error;
        for (const StepResult& done : outcome.done)
            in_slices += done.step.in_slices;
        ASSERT_TRUE(visible_disks(*whole) == expected);
        ASSERT_NO_FATAL_FAILURE(expect_sound(*whole));
        ASSERT_EQ(whole->names().size(), 5U);
        for (int cut = 0; cut < 12; ++cut) {
            const std::uint64_t changes = random() % counting.changes();
            SCOPED_TRACE("power lost after change " + std::to_string(changes));
            PowerSupply power;
            const auto storage = original.copy(&power);
            const TemporaryDirectory its_state;
            power.fail_after(changes);
            ASSERT_THROW(run(*storage, its_state), PowerLost);
            power.never_fail();
            storage->lose_power(unsynced, random);
            // What an interrupted slice has left are holes, of which the account of such small clusters makes no use.
            storage->free_space += unit * 2;
            const Outcome second = run(*storage, its_state);
            for (const StepResult& failed : second.failed)
                ADD_FAILURE() << failed.error;
            ASSERT_NO_FATAL_FAILURE(expect_sound(*storage));
            ASSERT_TRUE(visible_disks(*storage) == expected) << "a guest reads other bytes in the end";
            for (const Skipped& skipped : second.skipped)
                EXPECT_NE(skipped.reason, "no-space") << skipped.text;
            ASSERT_EQ(storage->names().size(), 5U);
        }
    }
    EXPECT_GT(in_slices, 0U);
}

class NoLog final : public EditLog {
public:
    void begin(const std::string&, const HeaderEdit&) override {}
    void end() override {}
};

/// The source has counts, and blocks of them, of what nothing uses any more: they stand behind all that stays.
TEST(SlicedSource, MayCountWhatNothingUses) {
    MemoryStorage original;
    const auto add = [&](const std::string& name, std::optional<std::string> parent, bool hidden, Bytes filled) {
        std::vector<Fill> fills; // each with its own table
        for (Bytes at; at < filled; at += 8_KiB)
            fills.push_back(fill_at(at, 8_KiB, 1));
        ImageSpec spec = small_image(Format::qcow2, name, std::move(parent), hidden, fills, size);
        spec.cluster_bits = 9; // a block of counts for each 128 KiB
        build(original, spec);
    };
    add("base", {}, true, 8_KiB);
    add("mid", "base", true, 480_KiB);
    add("left", "mid", false, 8_KiB);
    add("right", "mid", false, 8_KiB);
    const std::string mid = uuid_of("mid") + ".qcow2";
    unsigned in_slices = 0;
    bool finished = false;
    for (std::uint64_t changes = 1; !finished; ++changes) {
        SCOPED_TRACE("forgetting was cut off after change " + std::to_string(changes));
        PowerSupply power;
        const auto storage = original.copy(&power);
        const auto image = open_image(storage->open(mid, Access::read_write), Format::qcow2);
        const Bytes end = 380_KiB; // in the range of the third block of counts
        power.fail_after(changes);
        NoLog log;
        try {
            image->forget(image->tail_space()->beyond(end), log);
            finished = true;
        } catch (const PowerLost&) { // what is left is what is wanted
        }
        power.never_fail();
        storage->make_volumes(unit, 0_B, unit * 9);
        const GuestBytes expected = visible_disks(*storage);
        const TemporaryDirectory state;
        Policy policy;
        policy.direction = DirectionPolicy::down;
        policy.leaf_coalesce = false;
        const Outcome outcome = run_cycle(*storage, state, policy);
        for (const StepResult& failed : outcome.failed)
            ADD_FAILURE() << failed.error;
        for (const StepResult& done : outcome.done)
            in_slices += done.step.in_slices;
        for (const Skipped& skipped : outcome.skipped)
            EXPECT_NE(skipped.reason, "no-space") << skipped.text;
        ASSERT_TRUE(visible_disks(*storage) == expected);
        ASSERT_NO_FATAL_FAILURE(expect_sound(*storage));
    }
    EXPECT_GT(in_slices, 0U);
}

std::vector<Scenario> scenarios() {
    using enum Format;
    using enum DirectionPolicy;
    return {{"VhdDown", vhd, down},
            {"VhdUp", vhd, up},
            {"Qcow2Down", qcow2, down},
            {"Qcow2Up", qcow2, up},
            {"Qcow2DownGrows", qcow2, down, 640_KiB},
            {"VhdDownGrows", vhd, down, 640_KiB}};
}

INSTANTIATE_TEST_SUITE_P(Formats, SlicedCycle,
                         testing::Combine(testing::ValuesIn(scenarios()),
                                          testing::Values(Unsynced::kept, Unsynced::lost, Unsynced::torn)),
                         [](const auto& tested) {
                             return std::get<0>(tested.param).name + name_of(std::get<1>(tested.param));
                         });

} // namespace
} // namespace coppice::test
