// Blocks at the end of a VHD leave it: on a file and on a volume, with power that may fail at any change.
#include "tests/format/vhd/vhd_world.h"

#include "format/tail_space.h"
#include "format/target_space.h"
#include "format/vhd/check.h"

#include <gtest/gtest.h>

namespace coppice::vhd::test {
namespace {

struct Chain {
    Stored base;
    Stored child;

    std::vector<std::byte> guest() const { return guest_bytes({child, base}); }
    Chain copy() const { return {base.copy(), child.copy()}; }
};

Chain random_chain(Bytes volume_size, std::mt19937_64& random) {
    NewDisk disk{256_KiB};
    disk.block_size = 16_KiB;
    Chain chain;
    chain.base = make({"base.vhd", disk, false, volume_size});
    scribble(chain.base, {}, random, 12);
    disk.parent = NewParent{chain.base.name, Format::vhd, chain.base.open()->vhd_uuid(), 1'700'000'000};
    chain.child = make({"child.vhd", disk, false, volume_size});
    scribble(chain.child, {chain.base}, random, 12);
    return chain;
}

RangeList mapped(const Stored& stored) {
    RangeList result;
    const auto image = stored.open();
    for (const MapRun& run : image->map({0_B, image->virtual_size()}))
        add_range(result, run.guest);
    return result;
}

/// Every sector as before, or, where it may have been forgotten, as the base has it.
void expect_explained(const Chain& chain, const std::vector<std::byte>& before, const RangeList& guest) {
    const auto now = chain.guest();
    const auto base = guest_bytes({chain.base});
    ASSERT_EQ(now.size(), before.size());
    for (std::size_t at = 0; at < now.size(); at += 512) {
        const auto part = [&](const std::vector<std::byte>& bytes) { return std::span{bytes}.subspan(at, 512); };
        bool explained = std::ranges::equal(part(now), part(before));
        for (const ByteRange& range : guest)
            if (range.contains(Bytes{at})) explained |= std::ranges::equal(part(now), part(base));
        ASSERT_TRUE(explained) << "guest byte " << at;
    }
}

void forget(const Stored& stored, const RangeList& guest, EditLog& log, PowerSupply* power = nullptr) {
    stored.open(power)->forget(guest, log);
}

class VhdForget : public testing::TestWithParam<Bytes> {};

TEST_P(VhdForget, EndsWhereItWasComputed) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937_64 random{seed};
        const Chain chain = random_chain(GetParam(), random);
        for (Bytes end = chain.child.open()->target_space()->end(); end > 0_B;) {
            end = end > 48_KiB ? end - Bytes{random() % (48_KiB).count()} : 0_B;
            const auto before = chain.guest();
            const auto tail = chain.child.open()->tail_space();
            const RangeList guest = tail->beyond(end);
            const RangeList kept = subtracted(mapped(chain.child), guest);
            const Bytes computed = tail->end_without(guest);
            MemoryLog log;
            forget(chain.child, guest, log);
            EXPECT_FALSE(log.pending());
            ASSERT_NO_FATAL_FAILURE(expect_explained(chain, before, guest));
            EXPECT_EQ(mapped(chain.child), kept);
            EXPECT_EQ(chain.child.open()->target_space()->end(), computed);
            EXPECT_EQ(chain.child.open()->tail_space()->end_without({}), computed);
            if (!chain.child.volume) {
                EXPECT_EQ(chain.child.device()->size(), computed);
            }
            ASSERT_EQ(check(*chain.child.device()).verdict, Verdict::ok);
        }
        EXPECT_TRUE(mapped(chain.child).empty());
        EXPECT_EQ(chain.guest(), guest_bytes({chain.base}));
    }
}

TEST_P(VhdForget, AnyChangeMayBeTheLast) {
    std::mt19937_64 random{5};
    const Chain made = random_chain(GetParam(), random);
    const auto before = made.guest();
    const RangeList guest =
        made.child.open()->tail_space()->beyond(Bytes{made.child.open()->target_space()->end().count() / 2});
    ASSERT_FALSE(guest.empty());
    const Chain whole = made.copy();
    PowerSupply counting;
    MemoryLog log;
    forget(whole.child, guest, log, &counting);
    ASSERT_NE(whole.guest(), before);
    for (std::uint64_t kept = 0; kept < counting.changes(); ++kept)
        for (const Unsynced unsynced : {Unsynced::kept, Unsynced::lost, Unsynced::torn, Unsynced::torn}) {
            SCOPED_TRACE("power lost after " + std::to_string(kept) + " changes");
            const Chain chain = made.copy();
            PowerSupply power;
            power.fail_after(kept);
            MemoryLog pending;
            ASSERT_THROW(forget(chain.child, guest, pending, &power), coppice::test::PowerLost);
            std::vector<Stored> files{chain.child, chain.base};
            recover(files, pending, unsynced, random);
            ASSERT_NO_FATAL_FAILURE(expect_explained(chain, before, guest));
            forget(chain.child, guest, pending);
            ASSERT_EQ(chain.guest(), whole.guest());
            ASSERT_EQ(check(*chain.child.device()).verdict, Verdict::ok);
        }
}

INSTANTIATE_TEST_SUITE_P(FileAndVolume, VhdForget, testing::Values(0_B, 512_KiB));

} // namespace
} // namespace coppice::vhd::test
