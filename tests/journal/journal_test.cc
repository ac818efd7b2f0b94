#include "tests/journal/journal_directory.h"

namespace coppice::journal {
namespace {

TEST(Journal, RemembersAnOperationAcrossReopening) {
    const JournalDirectory directory;
    Operation operation = merge_of("a");
    std::int64_t id = 0;
    {
        const auto journal = directory.open();
        id = journal->begin(operation);
        journal->advance(id, 64_MiB, 10_MiB, 54_MiB);
        journal->set_state(id, OperationState::merged);
    }
    operation.state = OperationState::merged;
    operation.cursor = 64_MiB;
    operation.copied_bytes = 10_MiB;
    operation.shared_bytes = 54_MiB;
    const auto found = directory.open()->unfinished();
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].id, id);
    expect_same(found[0], operation);
    EXPECT_FALSE(found[0].ended);
}

TEST(Journal, ListsUnfinishedOldestFirstAndHistoryNewestFirst) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    const auto a = journal->begin(merge_of("a"));
    const auto b = journal->begin(merge_of("b"));
    const auto c = journal->begin(merge_of("c"));
    journal->set_state(b, OperationState::abandoned, "no space");

    const auto open = journal->unfinished();
    ASSERT_EQ(open.size(), 2U);
    EXPECT_EQ(open[0].id, a);
    EXPECT_EQ(open[1].id, c);
    const auto past = journal->history(2);
    ASSERT_EQ(past.size(), 2U);
    EXPECT_EQ(past[0].id, c);
    EXPECT_EQ(past[1].id, b);
    EXPECT_EQ(past[1].error, "no space");
    EXPECT_TRUE(past[1].ended);
}

TEST(Journal, StartsAnOperationNowWhereNoTimeIsGiven) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    Operation operation = merge_of("a");
    operation.started = 0;
    journal->begin(operation);
    EXPECT_GT(journal->unfinished().at(0).started, 1'600'000'000);
}

TEST(Journal, RefusesToChangeAnUnknownOperation) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    EXPECT_THROW(journal->advance(1, 0_B, 0_B, 0_B), NotFound);
    EXPECT_THROW(journal->set_state(1, OperationState::done), NotFound);
}

TEST(Journal, ReplacesTheSourcesOfAnOperation) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    const auto id = journal->begin(merge_of("a"));
    const std::vector<Fingerprint> sources{{"z", {1, 2, 3, 4}}};
    journal->set_sources(id, sources);
    EXPECT_EQ(journal->unfinished().at(0).sources, sources);
    EXPECT_THROW(journal->set_sources(id + 1, sources), NotFound);
}

TEST(Journal, KeepsEditsUntilTheyAreDone) {
    const JournalDirectory directory;
    const HeaderEdit edit{{{{Bytes{512}, {std::byte{1}, std::byte{0}}}}, {{Bytes{0}, {std::byte{3}}}}}};
    const std::vector<Overwrite> before{{Bytes{512}, {std::byte{7}, std::byte{8}}}, {Bytes{0}, {std::byte{9}}}};
    std::int64_t first = 0;
    {
        const auto journal = directory.open();
        first = journal->begin_edit("a.vhd", {1, 0xFFFF'FFFF'FFFF'FFFF, 3, 4}, edit, before);
        journal->begin_edit("b.vhd", {1, 2, 3, 4}, {}, {});
    }
    const auto journal = directory.open();
    auto pending = journal->pending_edits();
    ASSERT_EQ(pending.size(), 2U);
    EXPECT_EQ(pending[0].id, first);
    EXPECT_EQ(pending[0].image, "a.vhd");
    EXPECT_TRUE(pending[0].identity.same_object({1, 0xFFFF'FFFF'FFFF'FFFF, 0, 0}));
    EXPECT_EQ(pending[0].edit, edit);
    EXPECT_EQ(pending[0].before, before);
    journal->end_edit(first);
    pending = journal->pending_edits();
    ASSERT_EQ(pending.size(), 1U);
    EXPECT_EQ(pending[0].image, "b.vhd");
}

TEST(Journal, RemembersTheLastVersionOfANode) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    const NodeVersion root{"p", "vhd", std::nullopt, true, 10};
    NodeVersion leaf{"l", "vhd", "p", false, 20};
    journal->record_tree({root, leaf}, true);
    EXPECT_EQ(journal->last_known("l"), leaf);
    EXPECT_EQ(journal->last_known("p"), root);
    leaf.parent = std::nullopt;
    journal->record_tree({leaf}, true);
    EXPECT_EQ(journal->last_known("l"), leaf);
    EXPECT_EQ(journal->last_known("p"), root) << "what is gone is still known";
    EXPECT_EQ(journal->last_known("x"), std::nullopt);
}

int versions_of(const JournalDirectory& directory, const std::string& vdi, const std::string& condition) {
    SQLite::Database database{directory.path(), SQLite::OPEN_READONLY};
    SQLite::Statement count{database, "SELECT count(*) FROM node_version WHERE vdi = ? AND " + condition};
    count.bind(1, vdi);
    count.executeStep();
    return count.getColumn(0).getInt();
}

TEST(Journal, AddsVersionsOnlyForWhatChanged) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    const NodeVersion node{"n", "qcow2", "p", false, 20};
    journal->record_tree({node}, true);
    journal->record_tree({node}, true);
    EXPECT_EQ(versions_of(directory, "n", "1"), 1);
    journal->record_tree({}, false);
    EXPECT_EQ(versions_of(directory, "n", "gone IS NOT NULL"), 0) << "absent is not gone";
    journal->record_tree({}, true);
    EXPECT_EQ(versions_of(directory, "n", "gone IS NOT NULL"), 1);
    journal->record_tree({node}, true);
    EXPECT_EQ(versions_of(directory, "n", "1"), 2) << "it came back";
    EXPECT_EQ(versions_of(directory, "n", "gone IS NULL"), 1);
}

TEST(Journal, ListsEventsNewestFirst) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    journal->record_event("info", "", "started");
    journal->record_event("error", "v", "it's \"quoted\"");
    const auto events = journal->events(10);
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0].severity, "error");
    EXPECT_EQ(events[0].vdi, "v");
    EXPECT_EQ(events[0].text, "it's \"quoted\"");
    EXPECT_EQ(events[1].text, "started");
    EXPECT_EQ(journal->events(1).size(), 1U);
}

TEST(Journal, ForgetsTheOldestBeyondTheBound) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    const auto unfinished = journal->begin(merge_of("still running"));
    {
        SQLite::Database database{directory.path(), SQLite::OPEN_READWRITE};
        database.exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10050) "
                      "INSERT INTO event (time, severity, vdi, text) SELECT i, 'info', '', 'event ' || i FROM n");
        database.exec(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10050) "
            "INSERT INTO operation (kind, vdi, into_vdi, direction, step, state, cursor, copied_bytes, shared_bytes, "
            "started, ended) SELECT 'collect', 'v' || i, '', '', '', 'done', 0, 0, 0, 1, 2 FROM n");
    }
    journal->record_event("info", "", "last");
    const auto id = journal->begin(merge_of("new"));
    journal->set_state(id, OperationState::done);

    const auto events = journal->events(20'000);
    EXPECT_EQ(events.size(), history_bound);
    EXPECT_EQ(events.front().text, "last");
    EXPECT_EQ(events.back().text, "event 52");
    EXPECT_EQ(journal->history(20'000).size(), history_bound + 1);
    EXPECT_EQ(journal->unfinished().at(0).id, unfinished) << "what has not ended is never forgotten";
}

} // namespace
} // namespace coppice::journal
