#include "journal/journal.h"

#include "journal/sqlite_journal.h"

namespace coppice::journal {

UnusableJournal::UnusableJournal(Cause cause, const std::string& path, const std::string& text)
    : Error{"open journal: " + path + ": " + text}, cause_{cause} {}

std::unique_ptr<Journal> Journal::open(const std::string& path, Create create, const std::string& sr_key) {
    Connection connection = create == Create::yes ? open_for_writing(path, sr_key) : open_for_reading(path, sr_key);
    if (!connection.database) return nullptr;
    return std::make_unique<SqliteJournal>(path, sr_key, std::move(connection), create);
}

} // namespace coppice::journal
