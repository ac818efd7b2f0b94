// Versions of nodes: when each was seen first and last, and what remembering that costs.
#include "tests/journal/journal_directory.h"

namespace coppice::journal {
namespace {

constexpr std::int64_t long_ago = 1'000'000;

class JournalTree : public testing::Test {
protected:
    void execute(const std::string& statement) const {
        SQLite::Database{directory.path(), SQLite::OPEN_READWRITE, 1000}.exec(statement);
    }
    /// As if everything that was recorded up to now had been recorded then.
    void all_that_was_at(std::int64_t time) const {
        const std::string text = std::to_string(time);
        execute("UPDATE tree_scan SET time = " + text);
        execute("UPDATE node_version SET seen = " + text);
    }
    NodeSpan only_version(const std::string& vdi) const {
        const auto found = journal->versions(vdi, 0);
        EXPECT_EQ(found.size(), 1U);
        return found.at(0);
    }

    JournalDirectory directory;
    std::unique_ptr<Journal> journal = directory.open();
    NodeVersion root{"p", "vhd", std::nullopt, true, 10};
    NodeVersion leaf{"l", "vhd", "p", false, 20};
};

TEST_F(JournalTree, KnowsWhenAVersionWasSeenLast) {
    journal->record_tree({root, leaf}, true);
    all_that_was_at(long_ago);
    EXPECT_EQ(only_version("l"), (NodeSpan{leaf, long_ago, long_ago, false}));
    journal->record_tree({root, leaf}, true);
    EXPECT_EQ(only_version("l").first_seen, long_ago);
    EXPECT_GT(only_version("l").last_seen, long_ago);
    EXPECT_EQ(journal->versions("", 0).size(), 2U);
}

TEST_F(JournalTree, EndsTheVersionThatIsReplaced) {
    journal->record_tree({leaf}, true);
    all_that_was_at(long_ago);
    NodeVersion moved = leaf;
    moved.parent = "q";
    journal->record_tree({moved}, true);
    const auto found = journal->versions("l", 0);
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0], (NodeSpan{leaf, long_ago, long_ago, false}));
    EXPECT_EQ(found[1].version, moved);
    EXPECT_GT(found[1].first_seen, long_ago);
    EXPECT_EQ(found[1].last_seen, found[1].first_seen);
    EXPECT_EQ(journal->versions("l", long_ago + 1).size(), 1U) << "only what was seen since";
}

TEST_F(JournalTree, KeepsTheTimeOfWhatAScanDidNotSee) {
    journal->record_tree({root, leaf}, true);
    all_that_was_at(long_ago);
    journal->record_tree({leaf}, false);
    EXPECT_EQ(only_version("p"), (NodeSpan{root, long_ago, long_ago, false}));
    EXPECT_GT(only_version("l").last_seen, long_ago);
    journal->record_tree({root, leaf}, false);
    EXPECT_GT(only_version("p").last_seen, long_ago) << "it is back";
    all_that_was_at(long_ago);
    journal->record_tree({leaf}, true);
    EXPECT_EQ(only_version("p"), (NodeSpan{root, long_ago, long_ago, true}));
}

TEST_F(JournalTree, CostsNothingWhereNothingChanged) {
    std::vector<NodeVersion> nodes;
    for (int i = 0; i < 10'000; ++i)
        nodes.push_back({"vdi-" + std::to_string(i), "vhd", std::nullopt, false, 1});
    journal->record_tree(nodes, true);
    const std::string before = JournalDirectory::content(directory.path() + "-wal");
    journal->record_tree(nodes, true);
    EXPECT_TRUE(JournalDirectory::content(directory.path() + "-wal") == before) << "the last scan was just now";

    journal = nullptr;
    journal = directory.open();
    execute("UPDATE tree_scan SET time = 1000");
    const auto log_size = [&] { return std::filesystem::file_size(directory.path() + "-wal"); };
    const auto size = log_size();
    journal->record_tree(nodes, true);
    EXPECT_GT(journal->versions("vdi-7", 0).at(0).last_seen, 1000);
    EXPECT_LE(log_size() - size, 3U * 4200) << "one row is enough";
}

TEST_F(JournalTree, RecordsAgainAfterTheClockWasSetBack) {
    journal->record_tree({leaf}, true);
    execute("UPDATE tree_scan SET time = 9000000000");
    journal->record_tree({leaf}, true);
    EXPECT_LT(only_version("l").last_seen, 9'000'000'000);
}

TEST_F(JournalTree, TakesOverWhatVersion1Knew) {
    journal = nullptr;
    const JournalDirectory old;
    std::filesystem::copy_file(
        std::filesystem::path{__FILE__}.parent_path().parent_path() / "data" / "journal" / "schema-1.db", old.path());
    {
        SQLite::Database database{old.path(), SQLite::OPEN_READWRITE};
        database.exec("DELETE FROM node_version; INSERT INTO node_version (vdi, format, parent, hidden, virtual_size, "
                      "seen, gone) VALUES ('a', 'vhd', 'p', 0, 1, 100, NULL), ('a', 'vhd', NULL, 0, 1, 200, NULL), "
                      "('b', 'vhd', NULL, 0, 1, 150, 300), ('b', 'vhd', NULL, 0, 1, 400, NULL)");
    }
    const auto found = old.open()->versions("", 0);
    ASSERT_EQ(found.size(), 4U);
    EXPECT_EQ(found[0], (NodeSpan{{"a", "vhd", "p", false, 1}, 100, 200, false})) << "until it was replaced";
    EXPECT_EQ(found[1], (NodeSpan{{"a", "vhd", {}, false, 1}, 200, 400, false})) << "until the newest scan";
    EXPECT_EQ(found[2], (NodeSpan{{"b", "vhd", {}, false, 1}, 150, 300, true})) << "until it was missed";
    EXPECT_EQ(found[3], (NodeSpan{{"b", "vhd", {}, false, 1}, 400, 400, false}));
}

} // namespace
} // namespace coppice::journal
