// What an interrupted run has written down and no later one can take up: it must not stay recorded for ever.

#include "coalesce/step_json.h"
#include "tests/gc/cycle_world.h"
#include "tests/support/sr_builder.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>

namespace coppice::test {
namespace {

class CycleLeftovers : public testing::Test {
protected:
    CycleLeftovers() {
        build(storage_, small_image(Format::qcow2, "gold", {}, true, {fill_at(0_B, 200_KiB, 1)}));
        build(storage_, small_image(Format::qcow2, "leaf", "gold", false, {fill_at(64_KiB, 100_KiB, 3)}));
        build(storage_, small_image(Format::qcow2, "other", "gold", false, {}));
    }

    std::unique_ptr<journal::Journal> journal() {
        return journal::Journal::open(state_ / "journal.db", journal::Journal::Create::yes);
    }

    /// As a run leaves it that was killed while it merged `child` down.
    void record_merge(const std::string& child, const std::string& parent) {
        Step step;
        step.kind = StepKind::coalesce;
        step.vdi = uuid_of(child);
        step.into = uuid_of(parent);
        step.emptied = {step.vdi};
        step.survivor = *step.into;
        journal::Operation operation;
        operation.kind = to_string(step.kind);
        operation.vdi = step.vdi;
        operation.into = *step.into;
        operation.direction = to_string(step.direction);
        operation.step = boost::json::serialize(to_json(step));
        journal()->begin(operation);
    }

    std::vector<std::string> unfinished() {
        std::vector<std::string> vdis;
        for (const journal::Operation& operation : journal()->unfinished())
            vdis.push_back(operation.vdi);
        return vdis;
    }

    MemoryStorage storage_;
    TemporaryDirectory state_;
};

TEST_F(CycleLeftovers, AMergeOfADeletedImageIsGivenUp) {
    record_merge("deleted", "gold");
    record_merge("leaf", "deleted");
    const GuestBytes before = visible_disks(storage_);
    run_cycle(storage_, state_);
    EXPECT_EQ(unfinished(), std::vector<std::string>{});
    EXPECT_EQ(journal()->history(1).at(0).state, journal::OperationState::abandoned);
    EXPECT_TRUE(visible_disks(storage_) == before);
}

TEST_F(CycleLeftovers, AMergeOfImagesThatAreThereStaysRecorded) {
    record_merge("leaf", "gold");
    run_cycle(storage_, state_); // gold has two children
    EXPECT_EQ(unfinished(), std::vector{uuid_of("leaf")});
}

TEST_F(CycleLeftovers, AbsentIsNotGone) { // INV-6
    record_merge("unseen", "gold");
    build(storage_, small_image(Format::qcow2, "unreadable", {}, false, {}));
    storage_.refuse(uuid_of("unreadable") + ".qcow2", std::errc::io_error);
    run_cycle(storage_, state_);
    EXPECT_EQ(unfinished(), std::vector{uuid_of("unseen")});
}

} // namespace
} // namespace coppice::test
