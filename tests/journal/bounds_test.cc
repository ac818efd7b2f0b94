// A journal that lives long does not grow for ever.
#include "tests/journal/journal_directory.h"

namespace coppice::journal {
namespace {

class JournalBounds : public testing::Test {
protected:
    std::int64_t rows(const std::string& table) const {
        return SQLite::Database{directory.path(), SQLite::OPEN_READONLY, 1000}
            .execAndGet("SELECT count(*) FROM " + table)
            .getInt64();
    }
    void execute(const std::string& statement) const {
        SQLite::Database{directory.path(), SQLite::OPEN_READWRITE, 1000}.exec(statement);
    }
    /// As if so many rows more had been there, and were pruned.
    void skip_ids(const std::string& table, std::size_t count) const {
        execute("UPDATE sqlite_sequence SET seq = seq + " + std::to_string(count) + " WHERE name = '" + table + "'");
    }

    JournalDirectory directory;
    std::unique_ptr<Journal> journal = directory.open();
};

TEST_F(JournalBounds, HoldForEachKindOfRow) {
    for (int year = 0; year < 4; ++year) {
        execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) "
                "INSERT INTO event (time, severity, vdi, text) SELECT i, '', '', '' FROM n");
        execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) "
                "INSERT INTO operation (kind, vdi, into_vdi, direction, step, state, cursor, copied_bytes, "
                "shared_bytes, started, ended) SELECT '', i, '', '', '', 'done', 0, 0, 0, 1, 2 FROM n");
        execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) "
                "INSERT INTO speed (time, kind, bytes, seconds) SELECT i, '', i, 1 FROM n");
        execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) "
                "INSERT INTO node_version (vdi, format, hidden, virtual_size, seen, last_seen) "
                "SELECT 'v' || i % 10, '', 0, i, 1, 1 FROM n");
        const std::int64_t time = year * std::int64_t{365} * 24 * 3600;
        journal->record_event("", "", "");
        journal->set_state(journal->begin(merge_of("a")), OperationState::done);
        journal->record_speed({1, "copied", 1_B, 1});
        journal->record_tree({{"v", "vhd", {}, false, static_cast<std::uint64_t>(year)}}, false);
        journal->record_failure({"a" + std::to_string(year), "", "", "", 0, 1, time});
        journal->add_hold({0, "a", "", "", time, time + 1});
        journal->end_edit(journal->begin_edit("a.vhd", {}, {}, {}));
        journal->record_verdicts({{"a" + std::to_string(year), "x", "", "", 0}}, time);
    }
    const auto bound = static_cast<std::int64_t>(history_bound);
    EXPECT_EQ(rows("event"), bound);
    EXPECT_EQ(rows("operation"), bound);
    EXPECT_LE(rows("operation_source"), 8);
    EXPECT_EQ(rows("speed"), static_cast<std::int64_t>(speeds_bound));
    EXPECT_EQ(rows("node_version"), bound);
    EXPECT_EQ(rows("tree_scan"), 1);
    EXPECT_EQ(rows("retry"), 1);
    EXPECT_EQ(rows("hold"), 1);
    EXPECT_EQ(rows("pending_edit"), 0);
    EXPECT_EQ(rows("verdict"), 1);
}

TEST_F(JournalBounds, KeepTheLastVersionOfWhatIsThere) {
    journal->record_tree({{"old", "vhd", {}, false, 1}, {"new", "vhd", {}, false, 1}}, true);
    journal->record_tree({{"old", "vhd", {}, false, 2}, {"new", "vhd", {}, false, 1}}, true);
    skip_ids("node_version", history_bound * 2);
    journal->record_tree({{"old", "vhd", {}, false, 2}, {"new", "vhd", {}, false, 3}}, true);
    EXPECT_EQ(rows("node_version"), 2);
    EXPECT_EQ(journal->last_known("old")->virtual_size, 2U);
    EXPECT_EQ(journal->last_known("new")->virtual_size, 3U);
}

TEST_F(JournalBounds, ForgetWhatHasBeenGoneForLong) {
    journal->record_tree({{"lost", "vhd", {}, false, 1}, {"a", "vhd", {}, false, 1}}, true);
    journal->record_tree({{"a", "vhd", {}, false, 1}}, true);
    skip_ids("node_version", history_bound * 2);
    journal->record_tree({{"a", "vhd", {}, false, 2}}, true);
    EXPECT_TRUE(journal->last_known("lost")) << "it has just gone";
    execute("UPDATE node_version SET gone = gone - " + std::to_string(gone_bound - 60) + " WHERE vdi = 'lost'");
    journal->record_tree({{"a", "vhd", {}, false, 3}}, true);
    EXPECT_TRUE(journal->last_known("lost"));
    execute("UPDATE node_version SET gone = gone - 120 WHERE vdi = 'lost'");
    journal->record_tree({{"a", "vhd", {}, false, 4}}, true);
    EXPECT_FALSE(journal->last_known("lost"));
    EXPECT_TRUE(journal->last_known("a"));
}

} // namespace
} // namespace coppice::journal
