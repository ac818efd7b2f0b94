#include "journal/sqlite_journal.h"

#include <algorithm>

namespace coppice::journal {

std::string_view to_string(OperationState state) {
    switch (state) {
    case OperationState::running:
        return "running";
    case OperationState::merged:
        return "merged";
    case OperationState::relinking:
        return "relinking";
    case OperationState::done:
        return "done";
    case OperationState::abandoned:
        return "abandoned";
    }
    return "";
}

namespace {

constexpr std::string_view operation_columns =
    "id, kind, vdi, into_vdi, direction, step, state, cursor, copied_bytes, shared_bytes, started, ended, error, "
    "taken_up";

OperationState state_of(const std::string& text) {
    for (const auto state : {OperationState::running, OperationState::merged, OperationState::relinking,
                             OperationState::done, OperationState::abandoned})
        if (text == to_string(state)) return state;
    throw Error{"read journal: unknown state of an operation: " + text};
}

bool has_ended(OperationState state) {
    return state == OperationState::done || state == OperationState::abandoned;
}

void add_sources(SQLite::Database& database, std::int64_t id, const std::vector<Fingerprint>& sources) {
    std::int64_t position = 0;
    for (const Fingerprint& source : sources)
        run(database, "INSERT INTO operation_source VALUES (?, ?, ?, ?, ?, ?, ?)", id, position++, source.vdi,
            stored(source.identity.device), stored(source.identity.inode), stored(source.identity.size),
            source.identity.modified_ns);
}

std::vector<Fingerprint> sources_of(SQLite::Database& database, std::int64_t id) {
    SQLite::Statement rows{database, "SELECT vdi, device, inode, size, modified_ns FROM operation_source "
                                     "WHERE operation = ? ORDER BY position"};
    rows.bind(1, id);
    std::vector<Fingerprint> sources;
    while (rows.executeStep())
        sources.push_back({rows.getColumn(0).getString(),
                           {restored(rows.getColumn(1)), restored(rows.getColumn(2)), restored(rows.getColumn(3)),
                            rows.getColumn(4).getInt64()}});
    return sources;
}

void prune_operations(SQLite::Database& database) {
    run(database,
        "DELETE FROM operation WHERE ended IS NOT NULL AND id <= "
        "(SELECT id FROM operation WHERE ended IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?)",
        static_cast<std::int64_t>(history_bound));
}

} // namespace

std::int64_t SqliteJournal::begin(const Operation& operation) {
    return change([&](SQLite::Database& database) {
        SQLite::Statement insert{database,
                                 "INSERT INTO operation (kind, vdi, into_vdi, direction, step, state, cursor, "
                                 "copied_bytes, shared_bytes, started, ended, error) "
                                 "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"};
        SQLite::bind(insert, operation.kind, operation.vdi, operation.into, operation.direction, operation.step,
                     std::string{to_string(operation.state)}, stored(operation.cursor), stored(operation.copied_bytes),
                     stored(operation.shared_bytes), operation.started != 0 ? operation.started : now());
        if (has_ended(operation.state)) insert.bind(11, operation.ended.value_or(now()));
        insert.bind(12, operation.error);
        insert.exec();
        const std::int64_t id = database.getLastInsertRowid();
        add_sources(database, id, operation.sources);
        if (has_ended(operation.state)) prune_operations(database);
        return id;
    });
}

void SqliteJournal::advance(std::int64_t id, Bytes cursor, Bytes copied, Bytes shared) {
    const int rows = change([&](SQLite::Database& database) {
        return run(database, "UPDATE operation SET cursor = ?, copied_bytes = ?, shared_bytes = ? WHERE id = ?",
                   stored(cursor), stored(copied), stored(shared), id);
    });
    if (rows != 1) throw NotFound{"operation " + std::to_string(id), path_};
}

void SqliteJournal::set_sources(std::int64_t id, const std::vector<Fingerprint>& sources) {
    const bool known = change([&](SQLite::Database& database) {
        SQLite::Statement row{database, "SELECT 1 FROM operation WHERE id = ?"};
        row.bind(1, id);
        if (!row.executeStep()) return false;
        run(database, "DELETE FROM operation_source WHERE operation = ?", id);
        add_sources(database, id, sources);
        return true;
    });
    if (!known) throw NotFound{"operation " + std::to_string(id), path_};
}

void SqliteJournal::take_up(std::int64_t id) {
    const int rows = change([&](SQLite::Database& database) {
        return run(database, "UPDATE operation SET taken_up = taken_up + 1 WHERE id = ?", id);
    });
    if (rows != 1) throw NotFound{"operation " + std::to_string(id), path_};
}

void SqliteJournal::set_state(std::int64_t id, OperationState state, const std::string& error) {
    const int rows = change([&](SQLite::Database& database) {
        SQLite::Statement update{database, "UPDATE operation SET state = ?, error = ?, ended = ? WHERE id = ?"};
        update.bind(1, std::string{to_string(state)});
        update.bind(2, error);
        if (has_ended(state)) update.bind(3, now());
        update.bind(4, id);
        const int changed = update.exec();
        if (has_ended(state)) prune_operations(database);
        return changed;
    });
    if (rows != 1) throw NotFound{"operation " + std::to_string(id), path_};
}

std::vector<Operation> SqliteJournal::operations(const std::string& rest, const HistoryQuery& query) const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database, "SELECT " + std::string{operation_columns} + " FROM operation " + rest};
        rows.bind(1, stored_limit(query.limit));
        bind_optional(rows, 2, query.since);
        rows.bind(3, query.vdi);
        std::vector<Operation> result;
        while (rows.executeStep()) {
            Operation& operation = result.emplace_back();
            operation.id = rows.getColumn(0).getInt64();
            operation.kind = rows.getColumn(1).getString();
            operation.vdi = rows.getColumn(2).getString();
            operation.into = rows.getColumn(3).getString();
            operation.direction = rows.getColumn(4).getString();
            operation.step = rows.getColumn(5).getString();
            operation.state = state_of(rows.getColumn(6).getString());
            operation.cursor = Bytes{restored(rows.getColumn(7))};
            operation.copied_bytes = Bytes{restored(rows.getColumn(8))};
            operation.shared_bytes = Bytes{restored(rows.getColumn(9))};
            operation.started = rows.getColumn(10).getInt64();
            operation.ended = optional_from(rows.getColumn(11));
            operation.error = rows.getColumn(12).getString();
            operation.taken_up = rows.getColumn(13).getUInt();
            operation.sources = sources_of(database, operation.id);
        }
        return result;
    });
}

std::vector<Operation> SqliteJournal::unfinished() const {
    return operations("WHERE ended IS NULL AND ?2 IS NULL AND ?3 = '' ORDER BY id LIMIT ?1", {});
}

std::vector<Operation> SqliteJournal::history(const HistoryQuery& query) const {
    return operations("WHERE (?2 IS NULL OR ended IS NULL OR ended >= ?2) AND (?3 = '' OR vdi = ?3 OR into_vdi = ?3 "
                      "OR EXISTS (SELECT 1 FROM operation_source AS source WHERE source.operation = operation.id "
                      "AND source.vdi = ?3)) "
                      "ORDER BY id DESC LIMIT ?1",
                      query);
}

} // namespace coppice::journal
