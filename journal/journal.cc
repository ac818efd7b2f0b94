#include "journal/journal.h"

#include "format/base/crash_point.h"
#include "journal/database.h"

#include <SQLiteCpp/VariadicBind.h>

#include <algorithm>
#include <chrono>
#include <map>

namespace coppice::journal {
namespace {

constexpr std::string_view operation_columns =
    "id, kind, vdi, into_vdi, direction, step, state, cursor, copied_bytes, shared_bytes, started, ended, error";

std::int64_t now() {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

std::string_view to_text(OperationState state) {
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

OperationState state_of(const std::string& text) {
    for (const auto state : {OperationState::running, OperationState::merged, OperationState::relinking,
                             OperationState::done, OperationState::abandoned})
        if (text == to_text(state)) return state;
    throw Error{"read journal: unknown state of an operation: " + text};
}

bool has_ended(OperationState state) {
    return state == OperationState::done || state == OperationState::abandoned;
}

// SQLite's integers are signed; sizes and inode numbers keep their bits.
std::int64_t stored(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}
std::int64_t stored(Bytes value) {
    return stored(value.count());
}
std::uint64_t restored(const SQLite::Column& column) {
    return static_cast<std::uint64_t>(column.getInt64());
}

template <class... Values>
int run(SQLite::Database& database, const std::string& text, const Values&... values) {
    SQLite::Statement statement{database, text};
    SQLite::bind(statement, values...);
    return statement.exec();
}

NodeVersion node_from(const SQLite::Statement& row) {
    NodeVersion node;
    node.vdi = row.getColumn(0).getString();
    node.format = row.getColumn(1).getString();
    if (!row.getColumn(2).isNull()) node.parent = row.getColumn(2).getString();
    node.hidden = row.getColumn(3).getInt() != 0;
    node.virtual_size = restored(row.getColumn(4));
    return node;
}

class SqliteJournal final : public Journal {
public:
    SqliteJournal(std::string path, Connection connection, Create create)
        : path_{std::move(path)}, connection_{std::move(connection)}, writable_{create == Create::yes} {}

    std::int64_t begin(const Operation& operation) override;
    void advance(std::int64_t id, Bytes cursor, Bytes copied, Bytes shared) override;
    void set_sources(std::int64_t id, const std::vector<Fingerprint>& sources) override;
    void set_state(std::int64_t id, OperationState state, const std::string& error) override;
    std::vector<Operation> unfinished() const override;
    std::vector<Operation> history(std::size_t limit) const override;

    std::int64_t begin_edit(const std::string& image, const FileIdentity& identity, const HeaderEdit& edit,
                            const std::vector<Overwrite>& before) override;
    void end_edit(std::int64_t id) override;
    std::vector<PendingEdit> pending_edits() const override;

    void record_tree(const std::vector<NodeVersion>& nodes, bool complete) override;
    std::optional<NodeVersion> last_known(const std::string& vdi) const override;

    void record_event(const std::string& severity, const std::string& vdi, const std::string& text) override;
    std::vector<Event> events(std::size_t limit) const override;

private:
    /// Runs `body` in a transaction that is durable when this returns.
    template <class Body>
    auto change(Body body) {
        if (!writable_) throw Error{"write to journal: " + path_ + ": opened for reading only"};
        return translated(path_, [&] {
            SQLite::Transaction write{*connection_.database, SQLite::TransactionBehavior::IMMEDIATE};
            auto result = body(*connection_.database);
            about_to_change();
            write.commit();
            return result;
        });
    }
    /// Runs `body` on one state of the journal.
    template <class Body>
    auto look(Body body) const {
        return translated(path_, [&] {
            // A writer has appeared since the file was taken for one that nobody changes.
            if (connection_.immutable && has_log(path_)) connection_ = open_for_reading(path_);
            if (!connection_.database) throw NotFound{"journal", path_};
            SQLite::Transaction read{*connection_.database};
            return body(*connection_.database);
        });
    }
    std::vector<Operation> operations(const std::string& rest, std::int64_t limit) const;

    std::string path_;
    mutable Connection connection_; ///< opened anew by a reader
    bool writable_;
};

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

std::int64_t SqliteJournal::begin(const Operation& operation) {
    return change([&](SQLite::Database& database) {
        SQLite::Statement insert{database,
                                 "INSERT INTO operation (kind, vdi, into_vdi, direction, step, state, cursor, "
                                 "copied_bytes, shared_bytes, started, ended, error) "
                                 "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"};
        SQLite::bind(insert, operation.kind, operation.vdi, operation.into, operation.direction, operation.step,
                     std::string{to_text(operation.state)}, stored(operation.cursor), stored(operation.copied_bytes),
                     stored(operation.shared_bytes), operation.started != 0 ? operation.started : now());
        if (has_ended(operation.state)) insert.bind(11, operation.ended.value_or(now()));
        insert.bind(12, operation.error);
        insert.exec();
        const std::int64_t id = database.getLastInsertRowid();
        add_sources(database, id, operation.sources);
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

void SqliteJournal::set_state(std::int64_t id, OperationState state, const std::string& error) {
    const int rows = change([&](SQLite::Database& database) {
        SQLite::Statement update{database, "UPDATE operation SET state = ?, error = ?, ended = ? WHERE id = ?"};
        update.bind(1, std::string{to_text(state)});
        update.bind(2, error);
        if (has_ended(state)) update.bind(3, now());
        update.bind(4, id);
        const int changed = update.exec();
        if (has_ended(state)) prune_operations(database);
        return changed;
    });
    if (rows != 1) throw NotFound{"operation " + std::to_string(id), path_};
}

std::vector<Operation> SqliteJournal::operations(const std::string& rest, std::int64_t limit) const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database,
                               "SELECT " + std::string{operation_columns} + " FROM operation " + rest + " LIMIT ?"};
        rows.bind(1, limit);
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
            if (!rows.getColumn(11).isNull()) operation.ended = rows.getColumn(11).getInt64();
            operation.error = rows.getColumn(12).getString();
            operation.sources = sources_of(database, operation.id);
        }
        return result;
    });
}

std::vector<Operation> SqliteJournal::unfinished() const {
    return operations("WHERE ended IS NULL ORDER BY id", -1);
}

std::vector<Operation> SqliteJournal::history(std::size_t limit) const {
    return operations("ORDER BY id DESC", stored(std::min<std::uint64_t>(limit, INT64_MAX)));
}

/// Binds by reference: `bytes` must outlive the execution.
void bind_blob(SQLite::Statement& statement, int place, const std::vector<std::byte>& bytes) {
    statement.bindNoCopy(place, bytes.data(), static_cast<int>(bytes.size()));
}

HeaderEdit edit_from(const SQLite::Column& packed) {
    const auto* const begin = static_cast<const std::byte*>(packed.getBlob());
    return unpack_header_edit({begin, static_cast<std::size_t>(packed.getBytes())});
}

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

/// The last version of every VDI that was not gone.
std::map<std::string, NodeVersion> present_nodes(SQLite::Database& database) {
    SQLite::Statement rows{database,
                           "SELECT vdi, format, parent, hidden, virtual_size FROM node_version AS version "
                           "WHERE gone IS NULL AND id = (SELECT max(id) FROM node_version WHERE vdi = version.vdi)"};
    std::map<std::string, NodeVersion> result;
    while (rows.executeStep()) {
        NodeVersion node = node_from(rows);
        result.insert_or_assign(node.vdi, std::move(node));
    }
    return result;
}

void add_version(SQLite::Database& database, const NodeVersion& node, std::int64_t time) {
    SQLite::Statement insert{database, "INSERT INTO node_version (vdi, format, parent, hidden, virtual_size, seen) "
                                       "VALUES (?, ?, ?, ?, ?, ?)"};
    insert.bind(1, node.vdi);
    insert.bind(2, node.format);
    if (node.parent) insert.bind(3, *node.parent);
    insert.bind(4, node.hidden ? 1 : 0);
    insert.bind(5, stored(node.virtual_size));
    insert.bind(6, time);
    insert.exec();
}

/// Only versions that were replaced: the last word on a VDI stays, also when it is long gone.
void prune_versions(SQLite::Database& database) {
    run(database,
        "DELETE FROM node_version WHERE id <= (SELECT max(id) FROM node_version) - ? "
        "AND EXISTS (SELECT 1 FROM node_version AS newer WHERE newer.vdi = node_version.vdi AND newer.id > "
        "node_version.id)",
        static_cast<std::int64_t>(history_bound));
}

void SqliteJournal::record_tree(const std::vector<NodeVersion>& nodes, bool complete) {
    // Most scans see nothing new; they must not cost a flush.
    auto before = look([](SQLite::Database& database) { return present_nodes(database); });
    std::vector<const NodeVersion*> changed;
    for (const NodeVersion& node : nodes) {
        const auto place = before.find(node.vdi);
        if (place == before.end() || place->second != node) changed.push_back(&node);
        if (place != before.end()) before.erase(place);
    }
    if (!complete) before.clear(); // absent is not gone
    if (changed.empty() && before.empty()) return;

    change([&](SQLite::Database& database) {
        const std::int64_t time = now();
        for (const auto& [vdi, node] : before)
            run(database,
                "UPDATE node_version SET gone = ? WHERE id = (SELECT max(id) FROM node_version WHERE vdi = ?)", time,
                vdi);
        for (const NodeVersion* node : changed)
            add_version(database, *node, time);
        prune_versions(database);
        return 0;
    });
}

std::optional<NodeVersion> SqliteJournal::last_known(const std::string& vdi) const {
    return look([&](SQLite::Database& database) -> std::optional<NodeVersion> {
        SQLite::Statement rows{database, "SELECT vdi, format, parent, hidden, virtual_size FROM node_version "
                                         "WHERE vdi = ? ORDER BY id DESC LIMIT 1"};
        rows.bind(1, vdi);
        if (!rows.executeStep()) return std::nullopt;
        return node_from(rows);
    });
}

void SqliteJournal::record_event(const std::string& severity, const std::string& vdi, const std::string& text) {
    change([&](SQLite::Database& database) {
        run(database, "INSERT INTO event (time, severity, vdi, text) VALUES (?, ?, ?, ?)", now(), severity, vdi, text);
        return run(database, "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?",
                   static_cast<std::int64_t>(history_bound));
    });
}

std::vector<Event> SqliteJournal::events(std::size_t limit) const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database, "SELECT time, severity, vdi, text FROM event ORDER BY id DESC LIMIT ?"};
        rows.bind(1, stored(std::min<std::uint64_t>(limit, INT64_MAX)));
        std::vector<Event> result;
        while (rows.executeStep())
            result.push_back({rows.getColumn(0).getInt64(), rows.getColumn(1).getString(),
                              rows.getColumn(2).getString(), rows.getColumn(3).getString()});
        return result;
    });
}

} // namespace

UnusableJournal::UnusableJournal(Cause cause, const std::string& path, const std::string& text)
    : Error{"open journal: " + path + ": " + text}, cause_{cause} {}

std::unique_ptr<Journal> Journal::open(const std::string& path, Create create) {
    Connection connection = create == Create::yes ? open_for_writing(path) : open_for_reading(path);
    if (!connection.database) return nullptr;
    return std::make_unique<SqliteJournal>(path, std::move(connection), create);
}

} // namespace coppice::journal
