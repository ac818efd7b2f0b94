// Holds, settings, failures, verdicts, speeds, and what is asked of the history.
#include "tests/journal/journal_directory.h"

namespace coppice::journal {
namespace {

Hold hold_of(const std::string& vdi, std::int64_t created, std::optional<std::int64_t> expires) {
    return {0, vdi, "root", "migration", created, expires};
}

TEST(JournalHolds, LastUntilTheyExpireOrAreReleased) {
    const JournalDirectory directory;
    Hold for_ever = hold_of("a", 100, std::nullopt);
    Hold until_200 = hold_of("b", 100, 200);
    {
        const auto journal = directory.open();
        for_ever.id = journal->add_hold(for_ever);
        until_200.id = journal->add_hold(until_200);
    }
    const auto journal = directory.open();
    EXPECT_EQ(journal->holds(199), (std::vector{for_ever, until_200}));
    EXPECT_EQ(journal->holds(200), std::vector{for_ever});
    EXPECT_TRUE(journal->release_hold(for_ever.id));
    EXPECT_FALSE(journal->release_hold(for_ever.id));
    EXPECT_EQ(journal->holds(199), std::vector{until_200});
}

TEST(JournalHolds, AreForgottenWhenExpiredAndNeverReuseANumber) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    const auto first = journal->add_hold(hold_of("a", 100, 200));
    const auto second = journal->add_hold(hold_of("b", 200, 300));
    EXPECT_GT(second, first);
    EXPECT_EQ(journal->holds(0).size(), 1U) << "the first had expired when the second was made";
    EXPECT_TRUE(journal->release_hold(second));
    EXPECT_GT(journal->add_hold(hold_of("c", 200, 300)), second);
}

TEST(JournalHolds, TakeTheTimeFromTheClockWhereNoneIsGiven) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    journal->add_hold(hold_of("a", 0, std::nullopt));
    EXPECT_GT(journal->holds(0).at(0).created, 1'600'000'000);
}

TEST(JournalSettings, AreReplacedAndRemoved) {
    const JournalDirectory directory;
    directory.open()->set_setting("pause", "until 7");
    const auto journal = directory.open();
    EXPECT_EQ(journal->setting("pause"), "until 7");
    EXPECT_EQ(journal->setting("rate"), std::nullopt);
    journal->set_setting("pause", "");
    EXPECT_EQ(journal->setting("pause"), "");
    journal->set_setting("pause", std::nullopt);
    EXPECT_EQ(journal->setting("pause"), std::nullopt);
}

TEST(JournalRetries, CountPerStep) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    journal->record_failure({"a", "p", "no-space", "needs 5", 77, 1000, 1060});
    journal->record_failure({"a", "q", "held", "", 0, 1010, 1050});
    journal->record_failure({"a", "p", "image-damaged", "broken", 77, 1100, 1220});
    const Retry first{"a", "q", "held", "", 1, 1010, 1050};
    const Retry second{"a", "p", "image-damaged", "broken", 2, 1000, 1220};
    EXPECT_EQ(journal->retries(), (std::vector{first, second}));
    journal->forget_failure("a", "p");
    journal->forget_failure("a", "not there");
    EXPECT_EQ(directory.open()->retries(), std::vector{first});
}

TEST(JournalRetries, AreForgottenWhenTheyAreNotTriedAgain) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    journal->record_failure({"old", "", "held", "", 0, 1, 1000});
    journal->record_failure({"new", "", "held", "", 0, 1, 1000 + retry_bound});
    EXPECT_EQ(journal->retries().size(), 2U);
    journal->record_failure({"new", "", "held", "", 0, 1, 1001 + retry_bound});
    ASSERT_EQ(journal->retries().size(), 1U);
    EXPECT_EQ(journal->retries()[0].vdi, "new");
}

TEST(JournalVerdicts, KeepTheTimeSinceWhenTheyAreTheSame) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    journal->record_verdicts({{"b", "waiting", "held", "by root", 0}, {"a", "planned", "", "", 0}}, 10);
    journal->record_verdicts({{"b", "waiting", "held", "by admin", 5}, {"c", "planned", "", "", 5}}, 20);
    EXPECT_EQ(directory.open()->verdicts(),
              (std::vector<VerdictRecord>{{"b", "waiting", "held", "by admin", 10}, {"c", "planned", "", "", 20}}));
    journal->record_verdicts({{"b", "waiting", "paused", "", 0}, {"c", "running", "", "", 0}}, 30);
    EXPECT_EQ(journal->verdicts(),
              (std::vector<VerdictRecord>{{"b", "waiting", "paused", "", 30}, {"c", "running", "", "", 30}}));
    journal->record_verdicts({}, 40);
    EXPECT_TRUE(journal->verdicts().empty());
}

TEST(JournalVerdicts, RefuseTwoForOneVdi) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    EXPECT_THROW(journal->record_verdicts({{"a", "x", "", "", 0}, {"a", "y", "", "", 0}}, 1), std::logic_error);
}

TEST(JournalVerdicts, CostNoWriteWhereNothingIsNew) {
    const JournalDirectory directory;
    std::vector<VerdictRecord> verdicts;
    for (int i = 0; i < 10'000; ++i)
        verdicts.push_back({"vdi-" + std::to_string(i), "nothing-to-do", "", "", 0});
    const auto journal = directory.open();
    journal->record_verdicts(verdicts, 10);
    const std::string before = JournalDirectory::content(directory.path() + "-wal");
    journal->record_verdicts(verdicts, 20);
    EXPECT_TRUE(JournalDirectory::content(directory.path() + "-wal") == before);
}

TEST(JournalSpeeds, AreListedNewestFirst) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    const SpeedSample slow{1000, "copied", 64_MiB, 1.25};
    const SpeedSample fast{1001, "shared", 1_GiB, 0.001};
    journal->record_speed(slow);
    journal->record_speed(fast);
    EXPECT_EQ(journal->speeds(10), (std::vector{fast, slow}));
    EXPECT_EQ(journal->speeds(1), std::vector{fast});
}

// ---- queries ----

std::vector<std::int64_t> ids(const std::vector<Operation>& operations) {
    std::vector<std::int64_t> result;
    for (const Operation& operation : operations)
        result.push_back(operation.id);
    return result;
}

TEST(JournalHistory, FindsOperationsOfAVdi) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    const auto merged = journal->begin(merge_of("a")); // into "parent-of-a", and reads from "other"
    const auto second = journal->begin(merge_of("b"));
    const auto of = [&](const std::string& vdi) { return ids(journal->history(HistoryQuery{10, {}, vdi})); };
    EXPECT_EQ(of("a"), std::vector{merged});
    EXPECT_EQ(of("parent-of-b"), std::vector{second});
    EXPECT_EQ(of("other"), (std::vector{second, merged}));
    EXPECT_TRUE(of("x").empty());
    EXPECT_EQ(of(""), (std::vector{second, merged}));
    EXPECT_EQ(ids(journal->history(HistoryQuery{1, {}, "other"})), std::vector{second});
}

TEST(JournalHistory, FindsWhatHadNotEndedBefore) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    Operation past = merge_of("a");
    past.state = OperationState::done;
    past.ended = 2000;
    const auto ended = journal->begin(past);
    const auto running = journal->begin(merge_of("b"));
    const auto since = [&](std::int64_t time) { return ids(journal->history(HistoryQuery{10, time, {}})); };
    EXPECT_EQ(since(2000), (std::vector{running, ended}));
    EXPECT_EQ(since(2001), std::vector{running});
}

TEST(JournalHistory, FindsEventsByTimeAndVdi) {
    const JournalDirectory directory;
    const auto journal = directory.open();
    journal->record_event("info", "a", "1");
    journal->record_event("info", "b", "2");
    SQLite::Database{directory.path(), SQLite::OPEN_READWRITE}.exec("UPDATE event SET time = 1000 WHERE text = '1'");
    journal->record_event("info", "a", "3");
    const auto texts = [&](const HistoryQuery& query) {
        std::string result;
        for (const Event& event : journal->events(query))
            result += event.text;
        return result;
    };
    EXPECT_EQ(texts({}), "321");
    EXPECT_EQ(texts({10, 1000, "a"}), "31");
    EXPECT_EQ(texts({10, 1001, "a"}), "3");
    EXPECT_EQ(texts({1, {}, {}}), "3");
}

} // namespace
} // namespace coppice::journal
