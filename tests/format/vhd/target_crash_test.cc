// Power fails at every single change of a merge; a guest reads the same at each of them, and the merge ends well after.
#include "tests/format/vhd/vhd_world.h"

#include "format/vhd/check.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace coppice::vhd::test {
namespace {

/// The files of one host, newest image first, and what is done to them.
struct Scenario {
    std::vector<Stored> files;
    /// Runs everything, from wherever it stopped before.
    std::function<void(std::vector<Stored>& files, PowerSupply* power, EditLog& log)> act;
    /// The chain that a guest uses as things are.
    std::function<std::vector<Stored>(const std::vector<Stored>& files)> chain;
    /// What holds when all is done.
    std::function<void(const std::vector<Stored>& files, const std::vector<std::byte>& guest)> expect_done;
};

std::vector<Stored> copies(const std::vector<Stored>& files) {
    std::vector<Stored> result;
    for (const Stored& stored : files)
        result.push_back(stored.copy());
    return result;
}

std::string findings(const CheckReport& report) {
    std::string text;
    for (const Finding& finding : report.findings)
        text += finding.code + ": " + finding.text + "\n";
    return text;
}

/// After a crash the two footers may differ, and one of them may be missing; nothing else.
void expect_valid_after_crash(const std::vector<Stored>& files) {
    static const std::set<std::string> allowed{"primary-footer-invalid", "footers-differ", "copy-footer-invalid"};
    for (const Stored& stored : files) {
        const CheckReport report = check(*stored.device());
        EXPECT_TRUE(report.readable) << stored.name << ": " << findings(report);
        for (const Finding& finding : report.findings)
            EXPECT_TRUE(allowed.contains(finding.code)) << stored.name << ": " << findings(report);
    }
}

void expect_survives_every_cut(const Scenario& scenario, std::uint64_t seed) {
    const std::vector<std::byte> guest = guest_bytes(scenario.chain(scenario.files));
    for (const Unsynced unsynced : {Unsynced::kept, Unsynced::lost, Unsynced::torn}) {
        std::mt19937_64 random{seed};
        for (std::uint64_t cut = 0;; ++cut) {
            SCOPED_TRACE("power lost after change " + std::to_string(cut) + ", mode " +
                         std::to_string(static_cast<int>(unsynced)) + ", seed " + std::to_string(seed));
            std::vector<Stored> files = copies(scenario.files);
            PowerSupply power;
            MemoryLog log;
            power.fail_after(cut);
            bool finished = false;
            try {
                scenario.act(files, &power, log);
                finished = true;
            } catch (const coppice::test::PowerLost&) {
            }
            recover(files, log, unsynced, random);
            ASSERT_EQ(guest_bytes(scenario.chain(files)), guest);
            expect_valid_after_crash(files);
            if (!finished) scenario.act(files, nullptr, log);
            ASSERT_FALSE(log.pending());
            ASSERT_EQ(guest_bytes(scenario.chain(files)), guest);
            for (const Stored& stored : files) {
                const CheckReport report = check(*stored.device());
                ASSERT_EQ(report.verdict, Verdict::ok) << stored.name << ": " << findings(report);
            }
            scenario.expect_done(files, guest);
            if (testing::Test::HasFailure() || finished) break;
        }
    }
}

NewDisk disk(Bytes size, Bytes block_size, const Stored* parent) {
    NewDisk result{size};
    result.block_size = block_size;
    if (parent != nullptr)
        result.parent = NewParent{parent->name, Format::vhd, parent->open()->vhd_uuid(), 1'700'000'000};
    return result;
}

struct Shape {
    std::string name;
    Bytes block_size;
    Bytes base_size;
    Bytes middle_size;
    Bytes leaf_size;
    Bytes volume_size{};
    bool fixed_base = false;

    friend void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }
};

/// base <- middle <- leaf, all with random content.
std::vector<Stored> three(const Shape& shape, std::mt19937_64& random) {
    Made base{"base.vhd", disk(shape.base_size, shape.block_size, nullptr), shape.fixed_base, shape.volume_size};
    const Stored a = make(base);
    scribble(a, {}, random, 6);
    const Stored b = make({"middle.vhd", disk(shape.middle_size, shape.block_size, &a), false, shape.volume_size});
    scribble(b, {a}, random, 6);
    const Stored c = make({"leaf.vhd", disk(shape.leaf_size, shape.block_size, &b), false, shape.volume_size});
    scribble(c, {b, a}, random, 6);
    return {c, b, a};
}

std::string parent_of(const Stored& stored) {
    const auto parent = stored.open()->parent();
    return parent ? parent->names.back() : "";
}

void edit(const Stored& stored, PowerSupply* power, EditLog& log, const HeaderEdit& edit) {
    apply_logged(*stored.device(power), edit, log);
}

class MergeCrash : public testing::TestWithParam<std::tuple<Shape, std::uint64_t>> {
protected:
    Scenario scenario() const {
        std::mt19937_64 random{std::get<1>(GetParam())};
        return {three(std::get<0>(GetParam()), random), {}, {}, {}};
    }
    std::uint64_t seed() const { return std::get<1>(GetParam()); }
};

TEST_P(MergeCrash, LeafIntoMiddle) {
    Scenario s = scenario();
    s.act = [](std::vector<Stored>& files, PowerSupply* power, EditLog& log) {
        pour({files[1], {files[0]}, {files[2]}, {files[2]}}, power, log);
    };
    s.chain = [](const std::vector<Stored>& files) { return files; };
    s.expect_done = [](const std::vector<Stored>& files, const std::vector<std::byte>& guest) {
        EXPECT_EQ(guest_bytes({files[1], files[2]}), guest);
    };
    expect_survives_every_cut(s, seed());
}

TEST_P(MergeCrash, TwoLevelsIntoTheRoot) {
    Scenario s = scenario();
    s.act = [](std::vector<Stored>& files, PowerSupply* power, EditLog& log) {
        Merge merge{files[2], {files[0], files[1]}, {}, {}};
        merge.becomes = MergeTarget::Becomes::root;
        pour(merge, power, log);
    };
    s.chain = [](const std::vector<Stored>& files) { return files; };
    const bool fixed = std::get<0>(GetParam()).fixed_base;
    s.expect_done = [fixed](const std::vector<Stored>& files, const std::vector<std::byte>& guest) {
        // A target does not shrink; what it holds behind the size of its child is the planner's business.
        const auto front = [&guest](std::vector<std::byte> bytes) {
            bytes.resize(guest.size());
            return bytes;
        };
        EXPECT_EQ(front(guest_bytes({files[2]})), guest);
        if (!fixed) {
            EXPECT_EQ(front(bytes_without_bitmaps(files[2])), guest);
        }
    };
    expect_survives_every_cut(s, seed());
}

TEST_P(MergeCrash, MiddleUpIntoLeaf) {
    Scenario s = scenario();
    s.act = [](std::vector<Stored>& files, PowerSupply* power, EditLog& log) {
        if (parent_of(files[0]) == "middle.vhd") {
            Merge merge{files[0], {files[1]}, {files[1], files[2]}, {files[2]}};
            merge.up = true;
            pour(merge, power, log);
        }
        const NewParent base{"base.vhd", Format::vhd, files[2].open()->vhd_uuid(), 1'700'000'000};
        edit(files[0], power, log, files[0].open()->relinked(base));
    };
    s.chain = [](const std::vector<Stored>& files) {
        if (files[0].open()->parent()->vhd_uuid == files[2].open()->vhd_uuid()) return std::vector{files[0], files[2]};
        return files;
    };
    s.expect_done = [](const std::vector<Stored>& files, const std::vector<std::byte>& guest) {
        EXPECT_EQ(parent_of(files[0]), "base.vhd");
        EXPECT_EQ(guest_bytes({files[0], files[2]}), guest);
    };
    expect_survives_every_cut(s, seed());
}

TEST_P(MergeCrash, EverythingUpIntoLeafWhichBecomesRoot) {
    Scenario s = scenario();
    s.act = [](std::vector<Stored>& files, PowerSupply* power, EditLog& log) {
        if (files[0].open()->parent()) {
            Merge merge{files[0], {files[1], files[2]}, {files[1], files[2]}, {}};
            merge.up = true;
            merge.becomes = MergeTarget::Becomes::root;
            pour(merge, power, log);
        }
        edit(files[0], power, log, files[0].open()->relinked(std::nullopt));
    };
    s.chain = [](const std::vector<Stored>& files) {
        return files[0].open()->parent() ? files : std::vector{files[0]};
    };
    s.expect_done = [](const std::vector<Stored>& files, const std::vector<std::byte>& guest) {
        EXPECT_FALSE(files[0].open()->parent());
        EXPECT_EQ(bytes_without_bitmaps(files[0]), guest);
    };
    expect_survives_every_cut(s, seed());
}

TEST_P(MergeCrash, Hiding) {
    Scenario s = scenario();
    s.act = [](std::vector<Stored>& files, PowerSupply* power, EditLog& log) {
        for (const Stored& stored : files)
            edit(stored, power, log, stored.open()->with_hidden(true));
    };
    s.chain = [](const std::vector<Stored>& files) { return files; };
    s.expect_done = [](const std::vector<Stored>& files, const std::vector<std::byte>&) {
        for (const Stored& stored : files)
            EXPECT_TRUE(stored.open()->hidden());
    };
    expect_survives_every_cut(s, seed());
}

const Shape shapes[] = {
    {"PlainFiles", 4_KiB, 96_KiB, 96_KiB, 96_KiB},
    {"OddSizes", 4_KiB, Bytes{512 * 77}, Bytes{512 * 101}, Bytes{512 * 155}},
    {"LargerTable", 512_B, 32_KiB, 60_KiB, 160_KiB},
    {"LargerParent", 4_KiB, 128_KiB, Bytes{512 * 61}, 96_KiB},
    {"LargerParentAndTable", 512_B, 160_KiB, Bytes{512 * 61}, 96_KiB},
    {"LargerBlocks", 16_KiB, 64_KiB, 64_KiB, 128_KiB},
    {"Volumes", 4_KiB, 64_KiB, 80_KiB, 96_KiB, 512_KiB},
    {"VolumesWithLargerTable", 512_B, 32_KiB, 60_KiB, 160_KiB, 1_MiB},
    {"FixedBase", 4_KiB, 64_KiB, 96_KiB, 96_KiB, 0_B, true},
    {"FixedBaseOnVolume", 4_KiB, 64_KiB, 96_KiB, 96_KiB, 512_KiB, true},
};

INSTANTIATE_TEST_SUITE_P(Shapes, MergeCrash, testing::Combine(testing::ValuesIn(shapes), testing::Values(1, 2)),
                         [](const auto& instance) {
                             return std::get<0>(instance.param).name + std::to_string(std::get<1>(instance.param));
                         });

} // namespace
} // namespace coppice::vhd::test
