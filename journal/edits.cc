#include "journal/sqlite_journal.h"

namespace coppice::journal {
namespace {

/// Binds by reference: `bytes` must outlive the execution.
void bind_blob(SQLite::Statement& statement, int place, const std::vector<std::byte>& bytes) {
    statement.bindNoCopy(place, bytes.data(), static_cast<int>(bytes.size()));
}

HeaderEdit edit_from(const SQLite::Column& packed) {
    const auto* const begin = static_cast<const std::byte*>(packed.getBlob());
    return unpack_header_edit({begin, static_cast<std::size_t>(packed.getBytes())});
}

} // namespace

std::int64_t SqliteJournal::begin_edit(const std::string& image, const FileIdentity& identity, const HeaderEdit& edit,
                                       const std::vector<Overwrite>& before) {
    const std::vector<std::byte> packed = pack(edit);
    const std::vector<std::byte> packed_before = pack(HeaderEdit{{before}});
    return change([&](SQLite::Database& database) {
        SQLite::Statement insert{
            database, "INSERT INTO pending_edit (image, device, inode, edit, before) VALUES (?, ?, ?, ?, ?)"};
        SQLite::bind(insert, image, stored(identity.device), stored(identity.inode));
        bind_blob(insert, 4, packed);
        bind_blob(insert, 5, packed_before);
        insert.exec();
        return database.getLastInsertRowid();
    });
}

void SqliteJournal::end_edit(std::int64_t id) {
    change([&](SQLite::Database& database) { return run(database, "DELETE FROM pending_edit WHERE id = ?", id); });
}

std::vector<PendingEdit> SqliteJournal::pending_edits() const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database, "SELECT id, image, device, inode, edit, before FROM pending_edit ORDER BY id"};
        std::vector<PendingEdit> result;
        while (rows.executeStep()) {
            PendingEdit& pending = result.emplace_back();
            pending.id = rows.getColumn(0).getInt64();
            pending.image = rows.getColumn(1).getString();
            pending.identity = {restored(rows.getColumn(2)), restored(rows.getColumn(3)), 0, 0};
            pending.edit = edit_from(rows.getColumn(4));
            for (const auto& phase : edit_from(rows.getColumn(5)).phases)
                pending.before = phase;
        }
        return result;
    });
}

} // namespace coppice::journal
