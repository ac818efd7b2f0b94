// Whose journal it is, and what happens to one that cannot be used.
#include "tests/journal/journal_directory.h"

namespace coppice::journal {
namespace {

using Create = Journal::Create;
using Cause = UnusableJournal::Cause;

std::optional<Cause> refusal(const JournalDirectory& directory, Create create, const std::string& sr_key) {
    const auto before = directory.snapshot();
    try {
        Journal::open(directory.path(), create, sr_key);
        return std::nullopt;
    } catch (const UnusableJournal& error) {
        EXPECT_TRUE(directory.snapshot() == before) << "something was changed";
        return error.cause();
    }
}

TEST(JournalOwner, IsTheSrThatMadeIt) {
    const JournalDirectory directory;
    Journal::open(directory.path(), Create::yes, "mine");
    for (const Create create : {Create::no, Create::yes}) {
        EXPECT_EQ(refusal(directory, create, "yours"), Cause::foreign);
        EXPECT_EQ(refusal(directory, create, "mine"), std::nullopt);
        EXPECT_EQ(refusal(directory, create, ""), std::nullopt);
    }
}

TEST(JournalOwner, IsTheFirstThatOpensOneOfVersion1) {
    const JournalDirectory directory;
    std::filesystem::copy_file(std::filesystem::path{__FILE__}.parent_path().parent_path() / "data" / "journal" /
                                   "schema-1.db",
                               directory.path());
    EXPECT_EQ(refusal(directory, Create::no, "a"), std::nullopt);
    EXPECT_EQ(refusal(directory, Create::no, "b"), std::nullopt) << "a reader adopts nothing";
    EXPECT_EQ(refusal(directory, Create::yes, ""), std::nullopt) << "nor does one who does not say who it is";
    EXPECT_EQ(refusal(directory, Create::yes, "b"), std::nullopt);
    EXPECT_EQ(refusal(directory, Create::yes, "a"), Cause::foreign);
    EXPECT_EQ(refusal(directory, Create::yes, "b"), std::nullopt);
}

TEST(SetAside, GivesNewNamesToTheJournalAndItsLog) {
    const JournalDirectory directory;
    {
        const auto journal = directory.open();
        journal->record_event("info", "", "kept");
        const auto before = directory.snapshot();
        ASSERT_EQ(before.size(), 3U) << "the journal, its log and its index";
        const std::string aside = set_aside(directory.path(), Cause::damaged);
        EXPECT_EQ(aside.rfind(directory.path() + ".damaged-", 0), 0U) << aside;
        EXPECT_EQ(aside.back(), 'Z');
        EXPECT_EQ(JournalDirectory::content(aside), before.at("journal.db"));
        EXPECT_EQ(JournalDirectory::content(aside + "-wal"), before.at("journal.db-wal"));
        EXPECT_EQ(directory.snapshot().size(), 3U);
        EXPECT_EQ(Journal::open(aside, Create::no)->events(5).size(), 1U);
    }
    EXPECT_TRUE(directory.open()->events(5).empty()) << "a new one begins";
}

TEST(SetAside, NamesTheCauseAndReplacesNothing) {
    const JournalDirectory directory;
    std::vector<std::string> names;
    for (const Cause cause : {Cause::newer, Cause::foreign, Cause::foreign, Cause::foreign}) {
        directory.write(std::to_string(names.size()));
        names.push_back(set_aside(directory.path(), cause));
        EXPECT_NE(names.back().find(cause == Cause::newer ? ".newer-" : ".foreign-"), std::string::npos);
    }
    for (std::size_t i = 0; i < names.size(); ++i)
        EXPECT_EQ(JournalDirectory::content(names[i]), std::to_string(i));
    EXPECT_THROW(set_aside(directory.path(), Cause::damaged), NotFound);
}

TEST(SetAside, StopsThoseWhoHaveItOpen) {
    const JournalDirectory directory;
    auto old = directory.open();
    old->record_event("info", "", "old");
    const std::string aside = set_aside(directory.path(), Cause::damaged);
    EXPECT_THROW(old->record_event("info", "", "lost"), Error);
    const auto made = directory.open();
    EXPECT_THROW(old->record_event("info", "", "lost"), Error);
    made->record_event("info", "", "new");
    old = nullptr; // which must not take the log of the new one with it
    made->record_event("info", "", "newer");
    ASSERT_EQ(directory.open()->events(5).size(), 2U);
    EXPECT_EQ(Journal::open(aside, Create::no)->events(5).size(), 1U);
}

} // namespace
} // namespace coppice::journal
