// A merge into a disk that somebody opens between two of its turns, without any lock that we would meet: not one more
// byte is written to it. INV-7
#include "coalesce/sr_gate.h"
#include "tests/gc/cycle_world.h"
#include "tests/support/sr_builder.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

constexpr Bytes size = 20_MiB; // three batches

/// Opens the leaf right before its `turn`-th turn, counted from 0.
class OpensBetweenTurns final : public Occupancy, public SrGate {
public:
    OpensBetweenTurns(MemoryStorage& storage, std::string leaf, unsigned turn)
        : storage_{storage}, leaf_{std::move(leaf)}, turn_{turn} {}

    std::unique_ptr<Claim> claim(BlockDevice&, Purpose) override { return std::make_unique<Claim>(); }
    std::optional<Opener> lock_holder(const BlockDevice&) override { return std::nullopt; }
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override {
        std::vector<std::vector<Opener>> result(images.size());
        for (std::size_t i = 0; opened && i < images.size(); ++i)
            if (images[i].inode == opened->inode) result[i].push_back({4711, "cp"});
        return result;
    }
    std::unique_ptr<Passage> enter(const std::set<std::string>& leaves, const std::stop_token& stop) override {
        // What is entered for the sake of no other leaf, while the leaf is guarded, is a turn.
        if (leaves.empty() && guarded_ && turns_++ == turn_) opened = state();
        return gate_.enter(leaves, stop);
    }
    std::unique_ptr<LeafGuard> guard(const std::string& leaf) override {
        EXPECT_EQ(leaf, uuid_of("leaf"));
        return std::make_unique<Guard>(guarded_);
    }
    std::unique_ptr<Announcement> announce(const std::string& vdi) override { return gate_.announce(vdi); }
    bool readers_ask_first() const override { return gate_.readers_ask_first(); }

    FileIdentity state() const { return storage_.open(leaf_, Access::read_only)->identity(); }

    std::optional<FileIdentity> opened; ///< the leaf as it was then

private:
    class Guard final : public LeafGuard {
    public:
        explicit Guard(bool& guarded) : guarded_{guarded} { guarded_ = true; }
        ~Guard() override { guarded_ = false; }
        bool is_wanted() const override { return false; }

    private:
        bool& guarded_;
    };

    MemoryStorage& storage_;
    std::string leaf_;
    unsigned turn_;
    unsigned turns_ = 0;
    OpenGate gate_;
    bool guarded_ = false;
};

class LeafTurns : public testing::TestWithParam<Format> {};

TEST_P(LeafTurns, NothingIsWrittenToALeafThatIsOpen) {
    Policy policy;
    policy.direction = DirectionPolicy::up;
    NoProgress progress;
    unsigned interrupted = 0;
    for (bool all = false; !all; ++interrupted) {
        SCOPED_TRACE("opened before turn " + std::to_string(interrupted));
        const TemporaryDirectory directory;
        const auto journal = journal::Journal::open(directory / "journal.db", journal::Journal::Create::yes);
        MemoryStorage storage;
        ImageSpec parent{"parent", GetParam(), {}, true, size, {fill_at(0_B, size, 1)}};
        ImageSpec leaf{"leaf", GetParam(), "parent", false, size, {fill_at(64_KiB, 64_KiB, 2)}};
        build(storage, parent);
        build(storage, leaf);
        const GuestBytes before = visible_disks(storage);
        OpensBetweenTurns world{storage, file_of(leaf), interrupted};
        ScannedTrees trees{storage};
        Cycle cycle{storage, journal.get(), world, trees, world};
        const Outcome first = cycle.run(policy, {}, std::nullopt, progress, {});
        all = !world.opened;
        if (!all) {
            ASSERT_EQ(first.failed.size(), 1U);
            EXPECT_NE(first.failed.front().error.find("held open by pid 4711"), std::string::npos)
                << first.failed.front().error;
            EXPECT_EQ(world.state(), *world.opened) << "the leaf was written to";
            EXPECT_TRUE(visible_disks(storage) == before);
            world.opened.reset();
            cycle.run(policy, {}, std::nullopt, progress, {});
        }
        EXPECT_EQ(storage.names().size(), 1U);
        EXPECT_TRUE(visible_disks(storage) == before) << "in the end";
    }
    EXPECT_EQ(interrupted, 6U) << "before and after each of three batches, and never";
}

INSTANTIATE_TEST_SUITE_P(Formats, LeafTurns, testing::Values(Format::vhd, Format::qcow2),
                         [](const auto& tested) { return std::string{to_string(tested.param)}; });

} // namespace
} // namespace coppice::test
