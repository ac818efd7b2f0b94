// Opens the file behind a journal: makes it, migrates it, or refuses it without having changed a byte of it.
//
// Reading never writes, not even the -wal and -shm files beside a database: a reader that runs while nobody writes
// leaves the directory as it was, and one beside a running writer sees what that writer has committed.
#pragma once

#include "journal/journal.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace coppice::journal {

/// The compiled-in schema, oldest first; its size is the current version.
std::span<const std::string_view> migrations();

/// "Cpce" in the header of the file tells it from other SQLite databases.
inline constexpr int application_id = 0x43706365;

/// An open connection, and how it sees the file.
struct Connection {
    std::unique_ptr<SQLite::Database> database;
    /// Opened as a file that nobody changes. Once a write-ahead log appears beside it, it has to be opened anew.
    bool immutable = false;
};

/// For writing. Makes the file and its directories (mode 0700) where they are missing. `schema` replaces migrations()
/// in tests. Throws UnusableJournal, Busy or Error.
Connection open_for_writing(const std::string& path, std::span<const std::string_view> schema = migrations());
/// For reading. The database is null where the file does not exist. An older schema is migrated in a copy in memory.
Connection open_for_reading(const std::string& path, std::span<const std::string_view> schema = migrations());

/// Whether a write-ahead log with at least a part of a frame stands beside the database.
bool has_log(const std::string& path);

/// SQLite's exception as one of ours.
[[noreturn]] void rethrow(const SQLite::Exception& failure, const std::string& path);

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
