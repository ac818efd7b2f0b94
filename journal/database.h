// Opens the file behind a journal: makes it, migrates it, or refuses it without having changed a byte of it.
//
// Reading never writes, not even the -wal and -shm files beside a database: a reader that runs while nobody writes
// leaves the directory as it was, and one beside a running writer sees what that writer has committed.
#pragma once

#include "journal/journal.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>

namespace coppice::journal {

/// The compiled-in schema, oldest first; its size is the current version.
std::span<const std::string_view> migrations();

/// "Cpce" in the header of the file tells it from other SQLite databases.
inline constexpr int application_id = 0x43706365;

/// What tells that a database file was changed in between.
struct FileStamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = 0;
    std::int64_t modified_ns = 0;
    bool has_log = false; ///< a write-ahead log with at least a part of a frame stands beside it
    bool operator==(const FileStamp&) const = default;

    /// All zero where there is no file.
    static FileStamp of(const std::string& path);
};

/// An open connection, and how it sees the file.
struct Connection {
    std::unique_ptr<SQLite::Database> database;
    /// Opened, when the file bore `stamp`, as a file that nobody changes. Once that is wrong, what was read is worth
    /// nothing, and it has to be opened anew.
    bool immutable = false;
    FileStamp stamp;
};

inline bool is_outdated(const Connection& connection, const std::string& path) {
    return connection.immutable && FileStamp::of(path) != connection.stamp;
}

/// For writing. Makes the file and its directories (mode 0700) where they are missing. `sr_key` as in Journal::open;
/// `schema` replaces migrations() in tests. Throws UnusableJournal, Busy or Error.
Connection open_for_writing(const std::string& path, const std::string& sr_key = {},
                            std::span<const std::string_view> schema = migrations());
/// For reading. The database is null where the file does not exist. An older schema is migrated in a copy in memory.
Connection open_for_reading(const std::string& path, const std::string& sr_key = {},
                            std::span<const std::string_view> schema = migrations());

/// Whether the file no longer stands under the name under which it was opened.
bool has_moved(SQLite::Database& database);

/// SQLite's exception as one of ours.
[[noreturn]] void rethrow(const SQLite::Exception& failure, const std::string& path);

/// How often a look at a file is repeated that others change meanwhile.
inline constexpr int most_looks = 100;
/// Between two looks where only time helps.
inline constexpr std::chrono::milliseconds pause{2};

/// Beside a writer who comes or goes, the index of the log is not ready for one who only reads (the extended codes
/// SQLITE_READONLY_CANTINIT, _CANTLOCK and _RECOVERY). That shows in no stamp, and passes.
inline bool is_passing(const SQLite::Exception& failure) {
    return (failure.getErrorCode() & 0xff) == SQLITE_READONLY;
}

/// Calls `body` until it gives a value (of a std::optional). Also where it fails while somebody changes the file:
/// without locks, one who reads beside a writer may take a file for damaged that is not.
template <class Body>
auto repeated_while_changing(const std::string& path, Body body) {
    for (int looks = 1;; ++looks) {
        const FileStamp before = FileStamp::of(path);
        const auto is_final = [&] { return looks >= most_looks || FileStamp::of(path) == before; };
        try {
            if (auto result = body()) return *std::move(result);
            if (looks >= most_looks) throw Busy{path, "other processes change it all the time"};
        } catch (const UnusableJournal&) {
            if (is_final()) throw;
        } catch (const SQLite::Exception& failure) {
            const bool passes = is_passing(failure) && looks < most_looks;
            if (!passes && is_final()) throw;
            if (passes) std::this_thread::sleep_for(pause);
        }
    }
}

/// Calls `body` and translates what SQLite throws.
template <class Body>
auto translated(const std::string& path, Body body) {
    try {
        return body();
    } catch (const SQLite::Exception& failure) {
        rethrow(failure, path);
    }
}

} // namespace coppice::journal
