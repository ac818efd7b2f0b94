#include "journal/database.h"

#include "format/base/unique_fd.h"
#include "journal/directory.h"

#include <SQLiteCpp/Backup.h>
#include <sqlite3.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <thread>

namespace coppice::journal {
namespace {

namespace fs = std::filesystem;

constexpr int busy_timeout_ms = 10'000;
/// Bytes before the first frame of a write-ahead log (SQLite, "WAL File Format"). A writer that is killed right after
/// them leaves a log that SQLite 3.40 refuses to read without an index, for ever, as a breach of its "locking
/// protocol".
constexpr off_t log_header_size = 32;

constexpr int first_version_with_identity = 2;
/// The kernel stamps files with a clock that ticks at least this often (CONFIG_HZ is 100 or more): what is stamped
/// earlier than this before now would bear another stamp if it were changed now.
constexpr std::int64_t tick_ns = 20'000'000;

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

/// Brings `database` from its version to that of `schema`, each step in a transaction of its own.
void migrate(SQLite::Database& database, std::span<const std::string_view> schema) {
    const auto version_of = [&] { return static_cast<std::size_t>(number(database, "PRAGMA user_version")); };
    while (version_of() < schema.size()) {
        SQLite::Transaction write{database, SQLite::TransactionBehavior::IMMEDIATE};
        const std::size_t version = version_of();
        if (version >= schema.size()) return; // somebody else has done it
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

/// To which SR the journal belongs; empty where it does not know.
std::string owner_of(SQLite::Database& database) {
    if (number(database, "PRAGMA user_version") < first_version_with_identity) return {};
    SQLite::Statement row{database, "SELECT sr FROM identity"};
    return row.executeStep() ? row.getColumn(0).getString() : std::string{};
}

void expect_owner(SQLite::Database& database, const std::string& path, const std::string& sr_key) {
    const std::string owner = owner_of(database);
    if (!sr_key.empty() && !owner.empty() && owner != sr_key)
        throw UnusableJournal{UnusableJournal::Cause::foreign, path,
                              "is the journal of SR " + owner + ", not of " + sr_key};
}

/// From now on the journal is that of `sr_key`.
void adopt(SQLite::Database& database, const std::string& path, const std::string& sr_key) {
    if (sr_key.empty() || !owner_of(database).empty()) return;
    SQLite::Transaction write{database, SQLite::TransactionBehavior::IMMEDIATE};
    SQLite::Statement insert{database, "INSERT INTO identity (id, sr) VALUES (1, ?) ON CONFLICT DO NOTHING"};
    insert.bind(1, sr_key);
    insert.exec();
    write.commit();
    expect_owner(database, path, sr_key); // somebody else may have been first
}

/// Throws UnusableJournal unless this is a sound journal of `sr_key` and of a version that we know.
void examine(SQLite::Database& database, const std::string& path, const std::string& sr_key, std::size_t newest) {
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
    expect_owner(database, path, sr_key);
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
        try {
            fs::copy_file(path, file());
            fs::copy_file(log_of(path), log_of(file()));
        } catch (const fs::filesystem_error& failure) {
            remove();
            throw SystemError{"copy journal to " + directory_.string(), path, failure.code()};
        }
    }
    TemporaryCopy(const TemporaryCopy&) = delete;
    TemporaryCopy& operator=(const TemporaryCopy&) = delete;
    ~TemporaryCopy() { remove(); }

    std::string file() const { return directory_ / "journal.db"; }

private:
    void remove() const noexcept {
        std::error_code ignored;
        fs::remove_all(directory_, ignored);
    }

    fs::path directory_;
};

std::unique_ptr<SQLite::Database> copy_to_memory(SQLite::Database& source) {
    auto memory = std::make_unique<SQLite::Database>(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    SQLite::Backup{*memory, source}.executeStep(-1);
    return memory;
}

/// A stamp that differs from any that the file gets when it is changed after this call.
FileStamp reliable_stamp(const std::string& path) {
    for (;;) {
        const FileStamp stamp = FileStamp::of(path);
        timespec time{};
        ::clock_gettime(CLOCK_REALTIME, &time);
        const std::int64_t age = std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec - stamp.modified_ns;
        if (age < 0 || age >= tick_ns) return stamp;
        std::this_thread::sleep_for(std::chrono::nanoseconds{tick_ns - age});
    }
}

/// Who might begin to write while we look.
enum class Others { kept_out, free };

/// The file as it is, without a write to it or beside it.
Connection look_at(const std::string& path, Others others) {
    const int flags = SQLite::OPEN_READONLY | SQLite::OPEN_URI;
    // Who writes has the index beside it as long as the file is open.
    const bool at_rest = others == Others::kept_out && !fs::exists(index_of(path));
    const FileStamp stamp = at_rest ? FileStamp::of(path) : reliable_stamp(path);
    if (!stamp.has_log) {
        // Nobody writes. An ordinary read-only connection would make the two files of the log.
        return {std::make_unique<SQLite::Database>(uri(path, "immutable=1"), flags), true, stamp};
    }
    if (fs::exists(index_of(path))) {
        // readonly_shm: beside a writer its index is used; what a killed writer left is read from the log itself.
        return {
            std::make_unique<SQLite::Database>(uri(path, "mode=ro&readonly_shm=1"), flags, busy_timeout_ms), false, {}};
    }
    // A log without its index, as after copying the directory: SQLite could only read it by making the index.
    const TemporaryCopy copy{path};
    SQLite::Database source{copy.file(), SQLite::OPEN_READWRITE};
    return {copy_to_memory(source), false, {}};
}

/// A complete journal appears under `path` at once, so that an empty file there can only be damage.
void create(const std::string& path, const std::string& sr_key, std::span<const std::string_view> schema) {
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
        adopt(database, path, sr_key);
    } // the last connection copies the log into the file, flushes it and removes the log
    flush_directory(
        fs::path{path}.parent_path()); // an old log is gone before there is something it could be replayed into
    if (::rename(unfinished.c_str(), path.c_str()) != 0) throw SystemError::from_errno("rename to " + path, unfinished);
    flush_directory(fs::path{path}.parent_path());
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

bool is_full(const std::string& path) {
    struct statvfs space {};
    const fs::path directory = fs::path{path}.parent_path();
    if (::statvfs(directory.empty() ? "." : directory.c_str(), &space) != 0) return false;
    return space.f_bavail == 0 || (space.f_files != 0 && space.f_favail == 0);
}

} // namespace

FileStamp FileStamp::of(const std::string& path) {
    struct stat file {};
    struct stat log {};
    if (::stat(path.c_str(), &file) != 0) return {};
    return {file.st_dev, file.st_ino, file.st_size,
            std::int64_t{file.st_mtim.tv_sec} * 1'000'000'000 + file.st_mtim.tv_nsec,
            ::stat(log_of(path).c_str(), &log) == 0 && log.st_size > log_header_size};
}

bool has_moved(SQLite::Database& database) {
    int moved = 0;
    const int result = sqlite3_file_control(database.getHandle(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return result == SQLITE_OK && moved != 0;
}

void rethrow(const SQLite::Exception& failure, const std::string& path) {
    const SystemError full{"use journal", path, std::make_error_code(std::errc::no_space_on_device)};
    switch (failure.getErrorCode()) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        throw UnusableJournal{UnusableJournal::Cause::damaged, path, failure.what()};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        throw Busy{path, "another process writes to the journal"};
    case SQLITE_FULL:
        throw full;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        // SQLite says no more than this where its index or its log could not be made longer.
        if (is_full(path)) throw full;
        [[fallthrough]];
    default:
        throw Error{"use journal: " + path + ": " + failure.what()};
    }
}

Connection open_for_reading(const std::string& path, const std::string& sr_key,
                            std::span<const std::string_view> schema) {
    return translated(path, [&] {
        return repeated_while_changing(path, [&]() -> std::optional<Connection> {
            if (!is_present(path)) return Connection{};
            Connection result = look_at(path, Others::free);
            examine(*result.database, path, sr_key, schema.size());
            if (result.immutable) examine_length(*result.database, path);
            if (static_cast<std::size_t>(number(*result.database, "PRAGMA user_version")) != schema.size()) {
                Connection copy{copy_to_memory(*result.database), false, {}};
                migrate(*copy.database, schema);
                if (!is_outdated(result, path)) return copy;
            }
            if (is_outdated(result, path)) return std::nullopt;
            return result;
        });
    });
}

Connection open_for_writing(const std::string& path, const std::string& sr_key,
                            std::span<const std::string_view> schema) {
    const fs::path directory = fs::path{path}.parent_path();
    make_directories(directory);
    return translated(path, [&]() -> Connection {
        const OpeningLock lock{directory, busy_timeout_ms};
        if (!is_present(path)) create(path, sr_key, schema);
        repeated_while_changing(path, [&] {
            const Connection seen = look_at(path, Others::kept_out);
            examine(*seen.database, path, sr_key, schema.size());
            if (seen.immutable) examine_length(*seen.database, path);
            return std::optional{true};
        });
        auto database = std::make_unique<SQLite::Database>(path, SQLite::OPEN_READWRITE, busy_timeout_ms);
        set_durability(*database);
        migrate(*database, schema);
        adopt(*database, path, sr_key);
        return {std::move(database), false, {}};
    });
}

} // namespace coppice::journal
