#include "journal/database.h"

#include "format/base/unique_fd.h"

#include <SQLiteCpp/Backup.h>
#include <sqlite3.h>

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>

namespace coppice::journal {
namespace {

namespace fs = std::filesystem;

constexpr int busy_timeout_ms = 10'000;
/// Bytes before the first frame of a write-ahead log (SQLite, "WAL File Format"). A writer that is killed right after
/// them leaves a log that SQLite 3.40 refuses to read without an index, for ever, as a breach of its "locking
/// protocol".
constexpr off_t log_header_size = 32;

std::string log_of(const std::string& path) {
    return path + "-wal";
}
std::string index_of(const std::string& path) {
    return path + "-shm";
}

/// As a URI with `parameters`; every byte that could mean something in a URI is escaped.
std::string uri(const std::string& path, std::string_view parameters) {
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string result = "file:";
    for (const char character : fs::absolute(path).string()) {
        const auto byte = static_cast<unsigned char>(character);
        if (std::isalnum(byte) != 0 || character == '/' || character == '.' || character == '-' || character == '_') {
            result += character;
        } else {
            result += '%';
            result += digits[byte >> 4];
            result += digits[byte & 15];
        }
    }
    return result + "?" + std::string{parameters};
}

int number(SQLite::Database& database, const std::string& query) {
    return database.execAndGet(query).getInt();
}

/// Below `path`, private to root: names of VDIs and paths of the host are nobody else's business.
void make_directories(const fs::path& path) {
    if (path.empty() || fs::exists(path)) return;
    make_directories(path.parent_path());
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        throw SystemError::from_errno("create directory", path.string());
}

void flush_directory(const fs::path& directory) {
    const UniqueFd fd{::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fd || ::fsync(fd.get()) != 0) throw SystemError::from_errno("flush directory", directory.string());
}

/// Brings `database` from its version to that of `schema`, each step in a transaction of its own.
void migrate(SQLite::Database& database, std::span<const std::string_view> schema) {
    for (auto version = static_cast<std::size_t>(number(database, "PRAGMA user_version")); version < schema.size();
         ++version) {
        SQLite::Transaction write{database, SQLite::TransactionBehavior::IMMEDIATE};
        database.exec(std::string{schema[version]});
        database.exec("PRAGMA application_id = " + std::to_string(application_id));
        database.exec("PRAGMA user_version = " + std::to_string(version + 1));
        write.commit();
    }
}

void set_durability(SQLite::Database& database) {
    database.exec("PRAGMA journal_mode = WAL");
    database.exec("PRAGMA synchronous = FULL");
    database.exec("PRAGMA foreign_keys = ON");
}

/// Throws UnusableJournal unless this is a sound journal of a version that we know.
void examine(SQLite::Database& database, const std::string& path, std::size_t newest) {
    using Cause = UnusableJournal::Cause;
    const int id = number(database, "PRAGMA application_id");
    const int version = number(database, "PRAGMA user_version");
    if (id != application_id)
        throw UnusableJournal{Cause::damaged, path, "is a database, but not a journal of coppice"};
    if (version < 1) throw UnusableJournal{Cause::damaged, path, "has no schema version"};
    if (static_cast<std::size_t>(version) > newest)
        throw UnusableJournal{Cause::newer, path,
                              "has schema version " + std::to_string(version) + ", this program knows versions up to " +
                                  std::to_string(newest)};
    const std::string verdict = database.execAndGet("PRAGMA quick_check(1)").getString();
    if (verdict != "ok") throw UnusableJournal{Cause::damaged, path, verdict};
}

/// SQLite fills up a last page that is cut short without a word.
void examine_length(SQLite::Database& database, const std::string& path) {
    const auto expected = static_cast<std::uintmax_t>(database.execAndGet("PRAGMA page_count").getInt64()) *
                          static_cast<std::uintmax_t>(database.execAndGet("PRAGMA page_size").getInt64());
    if (fs::file_size(path) < expected) throw UnusableJournal{UnusableJournal::Cause::damaged, path, "is truncated"};
}

/// A private copy of a database and its log that is gone when the object is.
class TemporaryCopy {
public:
    explicit TemporaryCopy(const std::string& path) {
        std::string pattern = (fs::temp_directory_path() / "coppice-journal-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw SystemError::from_errno("create directory", pattern);
        directory_ = pattern;
        fs::copy_file(path, file());
        fs::copy_file(log_of(path), log_of(file()));
    }
    TemporaryCopy(const TemporaryCopy&) = delete;
    TemporaryCopy& operator=(const TemporaryCopy&) = delete;
    ~TemporaryCopy() {
        std::error_code ignored;
        fs::remove_all(directory_, ignored);
    }

    std::string file() const { return directory_ / "journal.db"; }

private:
    fs::path directory_;
};

std::unique_ptr<SQLite::Database> copy_to_memory(SQLite::Database& source) {
    auto memory = std::make_unique<SQLite::Database>(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    SQLite::Backup{*memory, source}.executeStep(-1);
    return memory;
}

/// The file as it is, without a write to it or beside it.
Connection look_at(const std::string& path) {
    const int flags = SQLite::OPEN_READONLY | SQLite::OPEN_URI;
    if (!has_log(path)) {
        // Nobody writes. An ordinary read-only connection would make the two files of the log.
        return {std::make_unique<SQLite::Database>(uri(path, "immutable=1"), flags), true};
    }
    if (fs::exists(index_of(path))) {
        // readonly_shm: beside a writer its index is used; what a killed writer left is read from the log itself.
        return {std::make_unique<SQLite::Database>(uri(path, "mode=ro&readonly_shm=1"), flags, busy_timeout_ms), false};
    }
    // A log without its index, as after copying the directory: SQLite could only read it by making the index.
    const TemporaryCopy copy{path};
    SQLite::Database source{copy.file(), SQLite::OPEN_READWRITE};
    return {copy_to_memory(source), false};
}

/// A complete journal appears under `path` at once, so that an empty file there can only be damage.
void create(const std::string& path, std::span<const std::string_view> schema) {
    const fs::path directory = fs::path{path}.parent_path();
    make_directories(directory);
    const std::string unfinished = path + ".new";
    for (const std::string& name :
         {unfinished, log_of(unfinished), index_of(unfinished), log_of(path), index_of(path)}) {
        // Also the log of a journal that somebody removed: it would be replayed into the new one.
        if (::unlink(name.c_str()) != 0 && errno != ENOENT) throw SystemError::from_errno("remove", name);
    }
    {
        const UniqueFd fd{::open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
        if (!fd) throw SystemError::from_errno("create", unfinished);
    }
    {
        SQLite::Database database{unfinished, SQLite::OPEN_READWRITE};
        set_durability(database);
        migrate(database, schema);
    } // the last connection copies the log into the file, flushes it and removes the log
    if (::rename(unfinished.c_str(), path.c_str()) != 0) throw SystemError::from_errno("rename to " + path, unfinished);
    flush_directory(directory);
}

bool is_present(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return false;
        throw SystemError::from_errno("look up", path);
    }
    if (!S_ISREG(status.st_mode)) throw UnusableJournal{UnusableJournal::Cause::damaged, path, "is not a regular file"};
    if (status.st_size == 0) throw UnusableJournal{UnusableJournal::Cause::damaged, path, "is empty"};
    return true;
}

} // namespace

bool has_log(const std::string& path) {
    struct stat status {};
    return ::stat(log_of(path).c_str(), &status) == 0 && status.st_size > log_header_size;
}

void rethrow(const SQLite::Exception& failure, const std::string& path) {
    switch (failure.getErrorCode()) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        throw UnusableJournal{UnusableJournal::Cause::damaged, path, failure.what()};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        throw Busy{path, "another process writes to the journal"};
    default:
        throw Error{"use journal: " + path + ": " + failure.what()};
    }
}

Connection open_for_reading(const std::string& path, std::span<const std::string_view> schema) {
    return translated(path, [&]() -> Connection {
        if (!is_present(path)) return {};
        Connection result = look_at(path);
        examine(*result.database, path, schema.size());
        if (result.immutable) examine_length(*result.database, path);
        if (static_cast<std::size_t>(number(*result.database, "PRAGMA user_version")) == schema.size()) return result;
        result = {copy_to_memory(*result.database), false};
        migrate(*result.database, schema);
        return result;
    });
}

Connection open_for_writing(const std::string& path, std::span<const std::string_view> schema) {
    return translated(path, [&]() -> Connection {
        if (!is_present(path)) create(path, schema);
        {
            const Connection seen = look_at(path);
            examine(*seen.database, path, schema.size());
            if (seen.immutable) examine_length(*seen.database, path);
        }
        auto database = std::make_unique<SQLite::Database>(path, SQLite::OPEN_READWRITE, busy_timeout_ms);
        set_durability(*database);
        migrate(*database, schema);
        return {std::move(database), false};
    });
}

} // namespace coppice::journal
