#include "tests/journal/journal_directory.h"

#include <sys/stat.h>

namespace coppice::journal {
namespace {

using Create = Journal::Create;
using Cause = UnusableJournal::Cause;

/// Opening fails with `cause`, for reading and for writing, and leaves everything as it was.
void expect_refusal(const JournalDirectory& directory, Cause cause) {
    const auto before = directory.snapshot();
    for (const Create create : {Create::no, Create::yes}) {
        try {
            directory.open(create);
            ADD_FAILURE() << "was opened";
        } catch (const UnusableJournal& refusal) {
            EXPECT_EQ(refusal.cause(), cause) << refusal.what();
        }
        EXPECT_TRUE(directory.snapshot() == before) << "something was changed";
    }
}

std::string sound_journal() {
    const JournalDirectory directory;
    {
        const auto journal = directory.open();
        for (int i = 0; i < 100; ++i)
            journal->begin(merge_of("vdi-" + std::to_string(i)));
    }
    return JournalDirectory::content(directory.path());
}

TEST(JournalOpening, GivesNothingWhereThereIsNoFile) {
    const JournalDirectory directory;
    EXPECT_EQ(directory.open(Create::no), nullptr);
    EXPECT_TRUE(directory.snapshot().empty());
}

TEST(JournalOpening, MakesPrivateDirectoriesAndFiles) {
    const JournalDirectory directory;
    const auto path = directory.root() / "state" / "sr" / "journal.db";
    const auto journal = Journal::open(path, Create::yes);
    struct stat status {};
    for (const auto& made : {path.parent_path(), path.parent_path().parent_path()}) {
        ASSERT_EQ(::stat(made.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 07777U, 0700U);
    }
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

TEST(JournalOpening, RefusesWhatIsNoDatabase) {
    const JournalDirectory directory;
    for (const auto& content : {std::string{"hello"}, std::string(8192, 'x'), std::string(512, '\0'), std::string{}}) {
        directory.write(content);
        expect_refusal(directory, Cause::damaged);
    }
}

TEST(JournalOpening, RefusesTheDatabaseOfAnotherProgram) {
    const JournalDirectory directory;
    SQLite::Database{directory.path(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE}.exec(
        "CREATE TABLE t (x); PRAGMA user_version = 1");
    expect_refusal(directory, Cause::damaged);
}

TEST(JournalOpening, RefusesATruncatedFile) {
    const std::string whole = sound_journal();
    const JournalDirectory directory;
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{99}, std::size_t{100}, std::size_t{4096}, whole.size() / 2, whole.size() - 1}) {
        SCOPED_TRACE(size);
        directory.write(whole.substr(0, size));
        expect_refusal(directory, Cause::damaged);
    }
}

TEST(JournalOpening, RefusesDamagedPages) {
    const std::string whole = sound_journal();
    const JournalDirectory directory;
    int refused = 0;
    for (std::size_t page = 4096; page + 4096 <= whole.size(); page += 4096) {
        std::string damaged = whole;
        damaged.replace(page, 256, std::string(256, '\xA5'));
        directory.write(damaged);
        expect_refusal(directory, Cause::damaged);
        ++refused;
    }
    EXPECT_GT(refused, 5);
}

TEST(JournalOpening, RefusesANewerSchema) {
    const JournalDirectory directory;
    directory.open();
    SQLite::Database{directory.path(), SQLite::OPEN_READWRITE}.exec("PRAGMA user_version = 999");
    expect_refusal(directory, Cause::newer);
}

TEST(JournalOpening, RefusesADirectory) {
    const JournalDirectory directory;
    std::filesystem::create_directory(directory.path());
    EXPECT_THROW(directory.open(), UnusableJournal);
    EXPECT_THROW(directory.open(Create::no), UnusableJournal);
}

TEST(JournalOpening, TakesCharactersThatMeanSomethingInAUri) {
    const JournalDirectory directory;
    const auto path = directory.root() / "a?b#c%20 d" / "journal.db";
    Journal::open(path, Create::yes)->record_event("info", "", "x");
    const auto reader = Journal::open(path, Create::no);
    ASSERT_NE(reader, nullptr);
    EXPECT_EQ(reader->events(5).size(), 1U);
}

TEST(JournalOpening, DropsTheLogOfAJournalThatSomebodyRemoved) {
    const JournalDirectory directory;
    {
        const auto journal = directory.open();
        journal->record_event("info", "", "old");
        std::filesystem::copy_file(directory.path() + "-wal", directory.root() / "kept");
    }
    std::filesystem::remove(directory.path());
    std::filesystem::rename(directory.root() / "kept", directory.path() + "-wal");
    EXPECT_TRUE(directory.open()->events(5).empty());
    EXPECT_TRUE(directory.open()->events(5).empty());
}

TEST(JournalReader, LeavesNoTrace) {
    const JournalDirectory directory;
    directory.open()->record_event("info", "", "x");
    const auto before = directory.snapshot();
    EXPECT_EQ(before.size(), 1U);
    const auto reader = directory.open(Create::no);
    EXPECT_EQ(reader->events(5).size(), 1U);
    EXPECT_TRUE(directory.snapshot() == before);
    EXPECT_THROW(reader->record_event("info", "", "y"), Error);
    EXPECT_THROW(reader->begin(merge_of("a")), Error);
    EXPECT_TRUE(directory.snapshot() == before);
}

TEST(JournalReader, SeesWhatARunningWriterCommits) {
    const JournalDirectory directory;
    const auto writer = directory.open();
    writer->record_event("info", "", "1");
    const auto reader = directory.open(Create::no);
    EXPECT_EQ(reader->events(5).size(), 1U);
    writer->record_event("info", "", "2");
    EXPECT_EQ(reader->events(5).size(), 2U);
}

TEST(JournalReader, SeesAWriterThatStartsLater) {
    const JournalDirectory directory;
    directory.open();
    const auto reader = directory.open(Create::no);
    EXPECT_TRUE(reader->events(5).empty());
    const auto writer = directory.open();
    writer->record_event("info", "", "1");
    EXPECT_EQ(reader->events(5).size(), 1U);
}

TEST(JournalReader, ReadsALogThatLostItsIndex) {
    const JournalDirectory directory;
    const JournalDirectory copy;
    const auto writer = directory.open();
    writer->record_event("info", "", "1");
    for (const std::string suffix : {"", "-wal"})
        std::filesystem::copy_file(directory.path() + suffix, copy.path() + suffix);
    const auto before = copy.snapshot();
    EXPECT_EQ(copy.open(Create::no)->events(5).size(), 1U);
    EXPECT_TRUE(copy.snapshot() == before);
    EXPECT_EQ(copy.open()->events(5).size(), 1U);
}

/// What a writer leaves that is killed when the first `kept` bytes of its log are written.
void leave_log_of(const JournalDirectory& directory, std::uintmax_t kept) {
    const JournalDirectory other;
    other.open()->record_event("info", "", "1");
    const auto writer = other.open();
    writer->record_event("info", "", "2");
    for (const std::string suffix : {"", "-wal", "-shm"})
        std::filesystem::copy_file(other.path() + suffix, directory.path() + suffix);
    std::filesystem::resize_file(directory.path() + "-wal", kept);
}

class CutLog : public testing::TestWithParam<std::uintmax_t> {};

TEST_P(CutLog, IsReadAsFarAsItIsComplete) {
    const JournalDirectory directory;
    leave_log_of(directory, GetParam());
    const auto before = directory.snapshot();
    EXPECT_EQ(directory.open(Create::no)->events(5).size(), 1U);
    EXPECT_TRUE(directory.snapshot() == before);
    directory.open()->record_event("info", "", "3");
    EXPECT_EQ(directory.open(Create::no)->events(5).size(), 2U);
}

// Nothing, a part of the header, the header, a part of the header of a frame, of its page.
INSTANTIATE_TEST_SUITE_P(Journal, CutLog, testing::Values(0, 1, 31, 32, 33, 56, 57, 4000));

// ---- older schemas ----

constexpr std::string_view addition = "ALTER TABLE event ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'";

std::vector<std::string_view> next_schema() {
    std::vector<std::string_view> schema{migrations().begin(), migrations().end()};
    schema.push_back(addition);
    return schema;
}

TEST(JournalMigration, BringsAnOlderFileUpToDate) {
    const JournalDirectory directory;
    directory.open()->record_event("info", "", "x");
    const auto schema = next_schema();
    {
        const auto connection = open_for_writing(directory.path(), {}, schema);
        EXPECT_EQ(connection.database->execAndGet("SELECT colour FROM event").getString(), "red");
    }
    expect_refusal(directory, Cause::newer);
}

TEST(JournalMigration, ReadsAnOlderFileWithoutChangingIt) {
    const JournalDirectory directory;
    directory.open()->record_event("info", "", "x");
    const auto before = directory.snapshot();
    const auto connection = open_for_reading(directory.path(), {}, next_schema());
    EXPECT_EQ(connection.database->execAndGet("SELECT colour FROM event").getString(), "red");
    EXPECT_TRUE(directory.snapshot() == before);
}

TEST(JournalMigration, LeavesTheOldVersionWhereAStepFails) {
    const JournalDirectory directory;
    directory.open()->record_event("info", "", "x");
    std::vector<std::string_view> schema = next_schema();
    schema.back() = "CREATE TABLE half (x); CREATE TABLE half (x)";
    EXPECT_THROW(open_for_writing(directory.path(), {}, schema), Error);
    const auto journal = directory.open();
    EXPECT_EQ(journal->events(5).size(), 1U);
}

/// Databases of every released schema; each holds one operation in progress, one edit, one node and one event.
TEST(JournalMigration, OpensEveryReleasedSchema) {
    const std::filesystem::path data = std::filesystem::path{__FILE__}.parent_path().parent_path() / "data" / "journal";
    int opened = 0;
    for (const auto& entry : std::filesystem::directory_iterator{data}) {
        if (entry.path().extension() != ".db") continue;
        SCOPED_TRACE(entry.path());
        const JournalDirectory directory;
        for (const Create create : {Create::no, Create::yes}) {
            std::filesystem::copy_file(entry.path(), directory.path(),
                                       std::filesystem::copy_options::overwrite_existing);
            const auto journal = directory.open(create);
            EXPECT_EQ(journal->unfinished().at(0).vdi, "vdi");
            EXPECT_EQ(journal->pending_edits().at(0).image, "vdi.vhd");
            EXPECT_EQ(journal->last_known("vdi").value().parent, "parent");
            EXPECT_EQ(journal->events(5).at(0).text, "text");
        }
        ++opened;
    }
    EXPECT_EQ(static_cast<std::size_t>(opened), migrations().size());
}

} // namespace
} // namespace coppice::journal
