// The arithmetic of merges in slices, over images whose ends are easily told.
#include "coalesce/slices.h"

#include <gtest/gtest.h>

#include <random>

namespace coppice {
namespace {

constexpr Bytes unit = 4_MiB;
constexpr Bytes block = 1_MiB;

/// Blocks in an order of their own behind one block of header, as a VHD has them.
class BlockTail final : public TailSpace {
public:
    explicit BlockTail(std::vector<std::uint64_t> blocks) : blocks_{std::move(blocks)} {}

    RangeList beyond(Bytes end) const override {
        std::vector<std::uint64_t> gone;
        for (std::size_t at = 0; at < blocks_.size(); ++at)
            if (block * (at + 2) > end) gone.push_back(blocks_[at]);
        std::ranges::sort(gone);
        RangeList result;
        for (const std::uint64_t number : gone)
            add_range(result, ByteRange::at(block * number, block));
        return result;
    }
    Bytes end_without(const RangeList& guest) const override {
        Bytes end = block;
        for (std::size_t at = 0; at < blocks_.size(); ++at)
            if (intersected(guest, {ByteRange::at(block * blocks_[at], block)}).empty()) end = block * (at + 2);
        return end;
    }

private:
    std::vector<std::uint64_t> blocks_;
};

class BlockSpace final : public TargetSpace {
public:
    BlockSpace(RangeList own, std::uint64_t weight) : own_{std::move(own)}, weight_{weight} {}

    Bytes end() const override { return block * (1 + count_units(own_, block)); }
    Bytes end_after(const MergeInput& merge) const override {
        return end() + block * weight_ * count_units(subtracted(rounded_out(merge.data, block), own_), block);
    }

private:
    RangeList own_;
    std::uint64_t weight_; ///< blocks that each new one takes
};

struct World {
    World(std::uint64_t source_blocks, std::uint64_t shared, std::uint64_t weight, std::mt19937_64& random) {
        std::vector<std::uint64_t> blocks(source_blocks);
        for (std::uint64_t at = 0; at < source_blocks; ++at)
            blocks[at] = at * 2;
        for (const std::uint64_t number : blocks)
            append(map, {ByteRange::at(block * number, block)});
        RangeList own;
        for (std::uint64_t at = 0; at < shared; ++at)
            add_range(own, ByteRange::at(block * (at * 2), block));
        std::ranges::shuffle(blocks, random);
        tail = std::make_unique<BlockTail>(blocks);
        space = std::make_unique<BlockSpace>(own, weight);
    }
    SlicedPair pair() const {
        const Bytes size = block * 4096;
        return {Direction::down,
                {map, size},
                {},
                size,
                *tail,
                *space,
                round_up(tail->end_without({}), unit),
                round_up(space->end(), unit),
                unit};
    }

    GuestMap map;
    std::unique_ptr<BlockTail> tail;
    std::unique_ptr<BlockSpace> space;
};

/// Does the slices as execution does, and looks that the group never gets larger than it may.
void expect_goes(const SlicedPair& pair, Bytes free) {
    const Slices slices{pair};
    const Bytes most = pair.source_volume + pair.target_volume + free;
    Slices::State state = slices.begin();
    while (state.source + slices.whole() > most) {
        const auto next = slices.next(state, most - state.source - state.target);
        ASSERT_TRUE(std::holds_alternative<Slices::State>(next));
        const auto& after = std::get<Slices::State>(next);
        ASSERT_LT(after.source, state.source);
        ASSERT_LE(state.source + after.target, most); // the source is cut when the target holds the data
        state = after;
    }
}

TEST(Slices, NeedNoMoreThanOneExtentWhereBlocksWeighTheSame) {
    std::mt19937_64 random{1};
    const World world{400, 0, 1, random};
    const SlicedPair pair = world.pair();
    const auto fit = walk(Slices{pair}, pair, unit);
    ASSERT_TRUE(std::holds_alternative<SlicesFit>(fit));
    EXPECT_EQ(std::get<SlicesFit>(fit).peak, unit);
    expect_goes(pair, unit);
}

TEST(Slices, TellWhatLacks) {
    std::mt19937_64 random{2};
    const World world{400, 0, 2, random}; // each block takes two
    const SlicedPair pair = world.pair();
    Bytes free;
    for (;;) {
        const auto result = walk(Slices{pair}, pair, free);
        if (std::holds_alternative<SlicesFit>(result)) break;
        ASSERT_GT(std::get<SlicesLack>(result).lacking, 0_B);
        free += std::get<SlicesLack>(result).lacking;
    }
    EXPECT_EQ(std::get<SlicesFit>(walk(Slices{pair}, pair, free)).peak, free);
    EXPECT_TRUE(std::holds_alternative<SlicesLack>(walk(Slices{pair}, pair, free - unit)));
    expect_goes(pair, free);
}

TEST(Slices, PlannedPeakIsEnoughForExecution) {
    for (std::uint64_t seed = 1; seed <= 25; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937_64 random{seed};
        const std::uint64_t blocks = 1 + random() % 600;
        const World world{blocks, random() % (blocks + 1), 1 + random() % 3, random};
        const SlicedPair pair = world.pair();
        Bytes free = unit * (random() % 40);
        auto result = walk(Slices{pair}, pair, free);
        while (const auto* lack = std::get_if<SlicesLack>(&result)) {
            free += lack->lacking;
            result = walk(Slices{pair}, pair, free);
        }
        const Bytes peak = std::get<SlicesFit>(result).peak;
        EXPECT_LE(peak, free);
        expect_goes(pair, peak);
    }
}

TEST(Slices, OfALargeImageAreLookedAtHereAndThere) {
    std::mt19937_64 random{3};
    const World world{2000, 0, 1, random};
    SlicedPair pair = world.pair();
    pair.unit = 1_MiB; // so that it has more extents than are gone through one by one
    pair.source_volume = round_up(world.tail->end_without({}), pair.unit);
    pair.target_volume = round_up(world.space->end(), pair.unit);
    const auto fit = walk(Slices{pair}, pair, pair.unit * 8);
    ASSERT_TRUE(std::holds_alternative<SlicesFit>(fit));
    EXPECT_LE(std::get<SlicesFit>(fit).peak, pair.unit * 8);
    expect_goes(pair, std::get<SlicesFit>(fit).peak);
    EXPECT_TRUE(std::holds_alternative<SlicesLack>(walk(Slices{pair}, pair, 0_B)));
}

/// Behind a table that stands at the end stands everything that it maps: lumps of blocks that leave at one go.
class LumpTail final : public TailSpace {
public:
    LumpTail(std::uint64_t lumps, Bytes length) : lumps_{lumps}, length_{length} {}

    RangeList beyond(Bytes end) const override {
        const std::uint64_t kept = std::min(lumps_, end < block ? 0 : (end - block) / length_);
        return kept == lumps_ ? RangeList{} : RangeList{{length_ * kept, length_ * lumps_}};
    }
    Bytes end_without(const RangeList& guest) const override {
        return block + (guest.empty() ? length_ * lumps_ : guest.front().begin);
    }

private:
    std::uint64_t lumps_;
    Bytes length_;
};

TEST(Slices, MayBeLargerThanOneIsMeantToBeWhereNoneIsSmaller) {
    for (const Bytes of : {unit, unit / 4}) { // gone through one by one, and here and there
        const Bytes lump = of * 300;
        const Bytes all = lump * (of == unit ? 3 : 5);
        ASSERT_GT(lump, most_of_slice(of));
        const GuestMap map{{{0_B, all}}};
        const LumpTail tail{all / lump, lump};
        const BlockSpace space{{}, 1};
        const SlicedPair pair{Direction::down, {map, all}, {}, all, tail, space, round_up(block + all, of), of, of};
        EXPECT_EQ(std::get<SlicesLack>(walk(Slices{pair}, pair, of * 280)).lacking, of * 20);
        const Bytes free = of * 305;
        ASSERT_TRUE(std::holds_alternative<SlicesFit>(walk(Slices{pair}, pair, free)));
        expect_goes(pair, std::get<SlicesFit>(walk(Slices{pair}, pair, free)).peak);
    }
}

/// What comes in parts takes twice as much.
class SplitSpace final : public TargetSpace {
public:
    explicit SplitSpace(Bytes all) : all_{all} {}
    Bytes end() const override { return block; }
    Bytes end_after(const MergeInput& merge) const override {
        Bytes sum;
        for (const ByteRange& range : merge.data)
            sum += range.length();
        return block + (sum < all_ ? sum * 2 : sum);
    }

private:
    Bytes all_;
};

TEST(Slices, MayLeaveMoreThanOneMergeWould) {
    const Bytes all = block * 2000;
    const GuestMap map{{{0_B, all}}};
    const LumpTail tail{2000, block};
    const SplitSpace space{all};
    const SlicedPair pair{Direction::down, {map, all}, {}, all, tail, space, all + block, block, block};
    EXPECT_TRUE(std::holds_alternative<SlicesFit>(walk(Slices{pair}, pair, block * 1001)));
}

} // namespace
} // namespace coppice
