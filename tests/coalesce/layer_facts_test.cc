#include "coalesce/layer_facts.h"
#include "format/base/error.h"
#include "format/merge_target.h"
#include "format/raw/image.h"
#include "tests/support/memory_device.h"

#include <gtest/gtest.h>

#include <random>

namespace coppice {
namespace {

GuestRun data(std::uint64_t begin, std::uint64_t end) {
    return {{Bytes{begin}, Bytes{end}}};
}
GuestRun zeros(std::uint64_t begin, std::uint64_t end) {
    return {{Bytes{begin}, Bytes{end}}, true};
}

TEST(GuestMap, OverlayLetsTheNewerWin) {
    const GuestMap newer{data(10, 20), zeros(30, 40)};
    const GuestMap older{data(0, 15), data(25, 60)};
    EXPECT_EQ(overlay(newer, 100_B, older, 0_B), (GuestMap{data(0, 20), data(25, 30), zeros(30, 40), data(40, 60)}));
}

TEST(GuestMap, OverlayClipsTheOlderAtTheEndOfTheNewer) {
    EXPECT_EQ(overlay({data(0, 4)}, 8_B, {data(2, 20)}, 16_B), (GuestMap{data(0, 8), zeros(8, 16)}));
    EXPECT_EQ(overlay({}, 8_B, {data(2, 20)}, 8_B), (GuestMap{data(2, 8)}));
    EXPECT_EQ(overlay({}, 0_B, {data(2, 20)}, 16_B), (GuestMap{zeros(0, 16)}));
}

TEST(GuestMap, WithoutCutsAtBothEndsAndInTheMiddle) {
    EXPECT_EQ(without({data(0, 100)}, {data(0, 10), zeros(20, 30), data(90, 200)}),
              (GuestMap{data(10, 20), data(30, 90)}));
    EXPECT_EQ(without({data(0, 10), data(20, 30)}, {data(5, 25)}), (GuestMap{data(0, 5), data(25, 30)}));
    EXPECT_EQ(without({data(0, 10)}, {}), (GuestMap{data(0, 10)}));
    EXPECT_TRUE(without({}, {data(0, 10)}).empty());
}

TEST(GuestMap, CoarsenedJoinsWhatMeetsInOneUnit) {
    EXPECT_EQ(coarsened({data(1, 2), data(3, 4), zeros(9, 17)}, 8_B), (GuestMap{data(0, 24)}));
    EXPECT_EQ(coarsened({data(0, 1), data(16, 17)}, 8_B), (GuestMap{data(0, 8), data(16, 24)}));
}

TEST(GuestMap, CoarsenedDoesNotWrapAtTheEndOfTheNumbers) {
    EXPECT_EQ(coarsened({data(~0ULL - 10, ~0ULL - 1)}, 2_MiB).back().guest.end, Bytes{~0ULL});
}

TEST(GuestMap, ZerosAreNotCounted) {
    EXPECT_EQ(data_bytes({data(0, 5), zeros(5, 50), data(60, 61)}), 6_B);
}

TEST(GuestMap, AppendJoinsOnlyEqualKinds) {
    GuestMap map;
    append(map, data(0, 4));
    append(map, data(4, 8));
    append(map, {{8_B, 9_B}, false, true});
    append(map, data(9, 9));
    EXPECT_EQ(map, (GuestMap{data(0, 8), {{8_B, 9_B}, false, true}}));
}

/// 0 unmapped, 1 data, 2 zeros
using Cells = std::vector<int>;

Cells cells(const GuestMap& map, std::size_t size) {
    Cells result(size, 0);
    for (const GuestRun& run : map)
        for (std::uint64_t at = run.guest.begin.count(); at < run.guest.end.count(); ++at)
            result[at] = run.zero ? 2 : 1;
    return result;
}

GuestMap random_map(std::mt19937_64& random, std::size_t size) {
    GuestMap map;
    for (std::uint64_t at = 0; at < size;) {
        const std::uint64_t end = std::min<std::uint64_t>(size, at + 1 + random() % 6);
        if (const auto kind = random() % 3; kind != 0) append(map, kind == 1 ? data(at, end) : zeros(at, end));
        at = end;
    }
    return map;
}

TEST(GuestMap, AgreesWithCellsOneByOne) {
    std::mt19937_64 random{20240601};
    for (int round = 0; round < 3000; ++round) {
        const GuestMap a = random_map(random, 48);
        const GuestMap b = random_map(random, 48);
        const std::size_t newer_size = random() % 49;
        const std::size_t end = random() % 49;
        Cells over = cells(b, 48);
        Cells cut = cells(a, 48);
        const Cells top = cells(a, 48);
        for (std::size_t at = 0; at < 48; ++at) {
            if (at < newer_size && top[at] != 0) over[at] = top[at];
            if (at >= newer_size) over[at] = at < end ? 2 : 0;
            if (cells(b, 48)[at] != 0) cut[at] = 0;
        }
        ASSERT_EQ(cells(overlay(a, Bytes{newer_size}, b, Bytes{end}), 48), over) << "round " << round;
        ASSERT_EQ(cells(without(a, b), 48), cut) << "round " << round;
    }
}

TEST(LayerFacts, MapOfARawImageIsReadInWindows) {
    auto device = test::memory_device(std::vector<std::byte>(3 << 20, std::byte{1}));
    const auto image = raw::open(std::move(device));
    const LayerFacts facts = layer_facts(*image, {});
    EXPECT_EQ(data_bytes(facts.map), 3_MiB);
    EXPECT_EQ(facts.map.size(), 1U);
    EXPECT_EQ(facts.shape.largest_virtual_size, TargetShape{}.largest_virtual_size);
}

TEST(LayerFacts, RawVolumeCannotGrow) {
    auto file = std::make_shared<test::MemoryFile>();
    file->bytes.resize(1 << 20);
    const auto image = raw::open(std::make_unique<test::MemoryDevice>(file, "volume", nullptr, true));
    EXPECT_EQ(layer_facts(*image, {}).shape.largest_virtual_size, 1_MiB);
}

/// An image that says what a test wants it to say.
class ScriptedImage final : public Image {
public:
    ScriptedImage(Bytes size, std::vector<MapRun> runs)
        : Image{test::memory_device()}, size_{size}, runs_{std::move(runs)} {}

    Format format() const override { return Format::qcow2; }
    Bytes virtual_size() const override { return size_; }
    bool hidden() const override { return false; }
    std::optional<ParentReference> parent() const override { return std::nullopt; }
    std::optional<Bytes> next_mapped(Bytes from) const override {
        for (const MapRun& run : runs_)
            if (run.guest.end > from) return std::max(from, run.guest.begin);
        return std::nullopt;
    }
    std::vector<MapRun> map(ByteRange window) const override {
        ++calls;
        std::vector<MapRun> result;
        for (MapRun run : runs_) {
            run.guest = intersection(run.guest, window);
            if (!run.guest.empty()) result.push_back(run);
        }
        return result;
    }
    Bytes allocated_size() const override { return 0_B; }
    Bytes physical_size() const override { return 0_B; }
    HeaderEdit relinked(const std::optional<NewParent>&) const override { return {}; }
    HeaderEdit with_hidden(bool) const override { return {}; }
    std::unique_ptr<MergeTarget> merge_target(EditLog&) override { return nullptr; }

    mutable std::size_t calls = 0;

private:
    Bytes size_;
    std::vector<MapRun> runs_;
};

TEST(LayerFacts, NeighboursOfOneKindAreOneRunWhereverTheyStand) {
    const ScriptedImage image{16_MiB,
                              {{{0_B, 1_MiB}, Content::data, 7_MiB},
                               {{1_MiB, 2_MiB}, Content::data, 3_MiB},
                               {{2_MiB, 3_MiB}, Content::compressed, 0_B},
                               {{3_MiB, 4_MiB}, Content::zero, 0_B}}};
    EXPECT_EQ(layer_facts(image, {}).map,
              (GuestMap{{{0_B, 2_MiB}}, {{2_MiB, 3_MiB}, false, true}, {{3_MiB, 4_MiB}, true}}));
}

TEST(LayerFacts, EmptyStretchesCostNothing) {
    const ScriptedImage image{8192_TiB,
                              {{{0_B, 4_KiB}, Content::data, 0_B}, {{8191_TiB, 8192_TiB - 1_GiB}, Content::zero, 0_B}}};
    const LayerFacts facts = layer_facts(image, {});
    EXPECT_EQ(facts.map.size(), 2U);
    EXPECT_LT(image.calls, 5000U);
}

TEST(LayerFacts, TooManyRunsAreRoundedOutwards) {
    std::vector<MapRun> runs;
    for (std::uint64_t number = 0; number < 1000; ++number)
        runs.push_back({ByteRange::at(number * 16_KiB, 512_B), Content::data, 0_B});
    const ScriptedImage image{16_MiB, runs};
    const GuestMap exact = layer_facts(image, {}).map;
    EXPECT_EQ(exact.size(), 1000U);
    const GuestMap rounded = layer_facts(image, {}, 100).map;
    EXPECT_LE(rounded.size(), 100U);
    EXPECT_TRUE(without(exact, rounded).empty());
    EXPECT_LE(rounded.back().guest.end, 16_MiB);
}

TEST(LayerFacts, MapOfWhatMayNotBeMergedIsNotRead) {
    const ScriptedImage image{16_MiB, {{{0_B, 2_MiB}, Content::data, 0_B}}};
    EXPECT_TRUE(layer_facts(image, {Verdict::corrupt, true, false, "image-damaged", {}}).map.empty());
    EXPECT_EQ(image.calls, 0U);
}

TEST(LayerFacts, OverlappingRunsAreRefused) {
    const ScriptedImage image{16_MiB, {{{0_B, 2_MiB}, Content::data, 0_B}, {{1_MiB, 3_MiB}, Content::data, 0_B}}};
    EXPECT_THROW(layer_facts(image, {}), CorruptImage);
}

} // namespace
} // namespace coppice
