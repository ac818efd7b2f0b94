// A merge that was interrupted while children got another parent: what keeps the next run from completing it, and that
// looking whether it can be completed is no change of anything.

#include "coalesce/held_chain.h"
#include "gc/cycle/journal_director.h"
#include "tests/gc/sm_world.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

/// Lets nobody in once all data of a merge has been moved.
class ClosingGate final : public SrGate {
public:
    explicit ClosingGate(const journal::Journal& journal) : journal_{journal} {}

    std::unique_ptr<Passage> enter(const std::set<std::string>& leaves, const std::stop_token& stop) override {
        for (const journal::Operation& operation : journal_.unfinished())
            if (operation.state == journal::OperationState::relinking) throw Busy{"the SR", "closed"};
        return gate_.enter(leaves, stop);
    }
    std::unique_ptr<LeafGuard> guard(const std::string& leaf) override { return gate_.guard(leaf); }
    std::unique_ptr<Announcement> announce(const std::string& vdi) override { return gate_.announce(vdi); }
    bool readers_ask_first() const override { return gate_.readers_ask_first(); }

private:
    const journal::Journal& journal_;
    OpenGate gate_;
};

/// The host fails whoever wants to write.
class BrokenHost final : public Occupancy {
public:
    std::unique_ptr<Claim> claim(BlockDevice& device, Purpose purpose) override {
        if (purpose == Purpose::write)
            throw SystemError{"lock", device.name(), std::make_error_code(std::errc::io_error)};
        return std::make_unique<Claim>();
    }
    std::optional<Opener> lock_holder(const BlockDevice&) override { return std::nullopt; }
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override {
        return std::vector<std::vector<Opener>>(images.size());
    }
};

class CycleRecovery : public testing::Test {
protected:
    CycleRecovery() {
        build(storage_, small_image(Format::qcow2, "base", {}, true, {fill_at(0_B, 40_KiB, 1)}));
        build(storage_, small_image(Format::qcow2, "mid", "base", true, {fill_at(8_KiB, 12_KiB, 3)}));
        build(storage_, small_image(Format::qcow2, "left", "mid", false, {fill_at(12_KiB, 2_KiB, 5)}));
        build(storage_, small_image(Format::qcow2, "right", "mid", false, {fill_at(128_KiB, 8_KiB, 6)}));
        ClosingGate gate{*journal_};
        NobodyElse nobody;
        FixedDirector director{merge_down()};
        EXPECT_EQ(run(director, nobody, gate).failed.size(), 1U);
        EXPECT_TRUE(is_open());
        interrupted_ = snapshot_of(storage_);
        storage_.opened_for_writing.clear();
    }

    static Policy merge_down() {
        Policy policy;
        policy.direction = DirectionPolicy::down;
        policy.leaf_coalesce = false;
        return policy;
    }
    Outcome run(Director& director, Occupancy& occupancy, SrGate& gate) {
        ScannedTrees trees{storage_};
        NoProgress progress;
        return Cycle{storage_, journal_.get(), occupancy, trees, gate}.run(director, {}, std::nullopt, progress, {});
    }
    Outcome run(Director& director) {
        NobodyElse nobody;
        OpenGate gate;
        return run(director, nobody, gate);
    }
    Outcome run(const Policy& policy, Occupancy& occupancy) {
        FixedDirector director{policy};
        OpenGate gate;
        return run(director, occupancy, gate);
    }
    JournalDirector patient() {
        WorkOrder order;
        order.policy = merge_down();
        order.patient = true;
        return {order, journal_.get(), true, [this] { return WallTime{now_, 0}; }};
    }
    bool is_open() const {
        const auto unfinished = journal_->unfinished();
        return unfinished.size() == 1 && unfinished[0].state == journal::OperationState::relinking;
    }
    void expect_untouched() {
        EXPECT_TRUE(snapshot_of(storage_) == interrupted_) << "something was changed";
        EXPECT_TRUE(is_open());
        EXPECT_EQ(storage_.opened_for_writing, std::set<std::string>{});
    }
    void expect_completed() {
        EXPECT_FALSE(is_open());
        EXPECT_FALSE(storage_.exists(uuid_of("mid") + ".qcow2"));
    }

    MemoryStorage storage_;
    TemporaryDirectory directory_;
    std::unique_ptr<journal::Journal> journal_ =
        journal::Journal::open(directory_ / "journal.db", journal::Journal::Create::yes);
    UnixSeconds now_ = 1'700'000'000;
    std::map<std::string, std::vector<std::byte>> interrupted_;
};

TEST_F(CycleRecovery, CompletesWhatNothingStandsInTheWayOf) {
    JournalDirector director = patient();
    EXPECT_EQ(run(director).done.size(), 1U);
    expect_completed();
}

TEST_F(CycleRecovery, WaitsForTheEndOfAHold) {
    for (const char* const held : {"base", "mid", "left"}) {
        journal::Hold hold;
        hold.vdi = uuid_of(held);
        hold.owner = "backup";
        hold.created = now_;
        const std::int64_t id = journal_->add_hold(hold);
        JournalDirector director = patient();
        const Outcome outcome = run(director);
        expect_untouched();
        EXPECT_TRUE(outcome.failed.empty());
        EXPECT_NE(reason_for(outcome, uuid_of("mid")).find("held"), std::string::npos);
        journal_->release_hold(id);
    }
    JournalDirector director = patient();
    run(director);
    expect_completed();
}

TEST_F(CycleRecovery, AHoldElsewhereDoesNotCount) {
    build_other_tree(storage_);
    journal::Hold hold;
    hold.vdi = uuid_of("oleaf");
    hold.created = now_;
    journal_->add_hold(hold);
    JournalDirector director = patient();
    run(director);
    expect_completed();
}

TEST_F(CycleRecovery, WaitsForTheEndOfAPause) {
    Pause pause;
    pause.until = now_ + 10;
    pause.reason = "an upgrade";
    for (const bool until_danger : {false, true}) {
        pause.until_danger = until_danger;
        set_pause(*journal_, pause);
        JournalDirector director = patient();
        const Outcome outcome = run(director);
        expect_untouched();
        EXPECT_NE(reason_for(outcome, uuid_of("mid")).find("paused"), std::string::npos);
    }
    now_ += 10;
    JournalDirector director = patient();
    run(director);
    expect_completed();
}

TEST_F(CycleRecovery, OpensNothingForWritingThatSomebodyHasOpen) {
    const auto inode = storage_.open(uuid_of("right") + ".qcow2", Access::read_only)->identity().inode;
    HeldOpen user{{inode}};
    const Outcome outcome = run(merge_down(), user);
    expect_untouched();
    EXPECT_NE(reason_for(outcome, uuid_of("mid")).find("tapdisk"), std::string::npos);
    NobodyElse nobody;
    run(merge_down(), nobody);
    expect_completed();
}

TEST_F(CycleRecovery, IsTriedAgainLaterAndLater) {
    BrokenHost broken;
    OpenGate gate;
    const auto fails = [&] {
        JournalDirector director = patient();
        return run(director, broken, gate).failed.size();
    };
    EXPECT_EQ(fails(), 1U);
    ASSERT_EQ(journal_->retries().size(), 1U);
    storage_.opened_for_writing.clear();
    now_ += retry_delay(1) - 1;
    EXPECT_EQ(fails(), 0U);
    expect_untouched();
    now_ += 1;
    EXPECT_EQ(fails(), 1U);
    EXPECT_EQ(journal_->retries().at(0).attempts, 2U);
    now_ += retry_delay(2);
    JournalDirector director = patient();
    run(director);
    expect_completed();
    EXPECT_TRUE(journal_->retries().empty());
}

TEST(HoldOn, ReachesUpAndDownTheChainAndNoFurther) {
    SrTree tree;
    for (const auto& [uuid, parent] : {std::pair{"a", ""}, {"b", "a"}, {"c", "b"}, {"d", "b"}, {"e", "e"}}) {
        TreeNode node;
        node.uuid = uuid;
        if (*parent != '\0') node.parent = parent;
        tree.nodes.push_back(node);
    }
    Policy policy;
    policy.holds.emplace("c", "why");
    for (const char* const uuid : {"a", "b", "c"})
        EXPECT_EQ(hold_on(tree, policy, {uuid}), "why") << uuid;
    for (const char* const uuid : {"d", "e", "gone"})
        EXPECT_FALSE(hold_on(tree, policy, {uuid})) << uuid;
    policy.holds = {{"a", ""}, {"gone", "it has no name now"}};
    EXPECT_TRUE(hold_on(tree, policy, {"d"}));
    EXPECT_EQ(hold_on(tree, policy, {"gone"}), "it has no name now");
}

} // namespace
} // namespace coppice::test
