#include "journal/sqlite_journal.h"

#include <map>

namespace coppice::journal {
namespace {

/// What a scan found different from the tree as the journal has it.
struct TreeChange {
    std::vector<const NodeVersion*> appeared; ///< new, or not as before
    std::vector<std::int64_t> missed;         ///< versions that the newest scan had seen and this one did not
    std::vector<std::int64_t> gone;           ///< of a VDI that a complete scan did not find
    std::vector<std::int64_t> back;           ///< missed by an incomplete scan, and unchanged

    bool empty() const { return appeared.empty() && missed.empty() && gone.empty() && back.empty(); }
};

struct PresentNode {
    std::int64_t id = 0;
    bool seen_by_newest_scan = false;
    NodeVersion version;
};

/// Reads columns 0 to 4: vdi, format, parent, hidden, virtual_size.
NodeVersion node_from(const SQLite::Statement& row) {
    NodeVersion node;
    node.vdi = row.getColumn(0).getString();
    node.format = row.getColumn(1).getString();
    if (!row.getColumn(2).isNull()) node.parent = row.getColumn(2).getString();
    node.hidden = row.getColumn(3).getInt() != 0;
    node.virtual_size = restored(row.getColumn(4));
    return node;
}

/// The last version of every VDI that is not gone.
std::map<std::string, PresentNode> present_nodes(SQLite::Database& database) {
    SQLite::Statement rows{database,
                           "SELECT vdi, format, parent, hidden, virtual_size, id, last_seen IS NULL FROM node_version "
                           "AS version WHERE gone IS NULL AND id = (SELECT max(id) FROM node_version WHERE vdi = "
                           "version.vdi)"};
    std::map<std::string, PresentNode> result;
    while (rows.executeStep()) {
        NodeVersion node = node_from(rows);
        std::string vdi = node.vdi;
        result.insert_or_assign(std::move(vdi), PresentNode{rows.getColumn(5).getInt64(),
                                                            rows.getColumn(6).getInt() != 0, std::move(node)});
    }
    return result;
}

TreeChange difference(SQLite::Database& database, const std::vector<NodeVersion>& nodes, bool complete) {
    auto before = present_nodes(database);
    TreeChange change;
    for (const NodeVersion& node : nodes) {
        const auto place = before.find(node.vdi);
        if (place == before.end()) {
            change.appeared.push_back(&node);
            continue;
        }
        const PresentNode& known = place->second;
        if (known.version != node) {
            change.appeared.push_back(&node);
            if (known.seen_by_newest_scan) change.missed.push_back(known.id);
        } else if (!known.seen_by_newest_scan) {
            change.back.push_back(known.id);
        }
        before.erase(place);
    }
    for (const auto& [vdi, known] : before) {
        if (known.seen_by_newest_scan) change.missed.push_back(known.id);
        if (complete) change.gone.push_back(known.id); // absent from another scan is not gone
    }
    return change;
}

/// nullopt where there was none.
std::optional<std::int64_t> newest_scan(SQLite::Database& database) {
    SQLite::Statement row{database, "SELECT time FROM tree_scan"};
    return row.executeStep() ? optional_from(row.getColumn(0)) : std::nullopt;
}

void add_versions(SQLite::Database& database, const std::vector<const NodeVersion*>& nodes, std::int64_t time) {
    SQLite::Statement insert{database, "INSERT INTO node_version (vdi, format, parent, hidden, virtual_size, seen) "
                                       "VALUES (?, ?, ?, ?, ?, ?)"};
    for (const NodeVersion* node : nodes) {
        insert.reset();
        SQLite::bind(insert, node->vdi, node->format);
        if (node->parent)
            insert.bind(3, *node->parent);
        else
            insert.bind(3);
        insert.bind(4, node->hidden ? 1 : 0);
        insert.bind(5, stored(node->virtual_size));
        insert.bind(6, time);
        insert.exec();
    }
}

void apply(SQLite::Database& database, const TreeChange& change, std::int64_t time) {
    const std::int64_t before = newest_scan(database).value_or(0);
    SQLite::Statement miss{database, "UPDATE node_version SET last_seen = max(seen, ?) WHERE id = ?"};
    for (const std::int64_t id : change.missed)
        run(miss, before, id);
    SQLite::Statement lose{database, "UPDATE node_version SET gone = ? WHERE id = ?"};
    for (const std::int64_t id : change.gone)
        run(lose, time, id);
    SQLite::Statement find{database, "UPDATE node_version SET last_seen = NULL WHERE id = ?"};
    for (const std::int64_t id : change.back)
        run(find, id);
    add_versions(database, change.appeared, time);
}

/// The last word on a VDI stays as long as it is there, and long after: what cannot be read any more is judged by it.
void prune_versions(SQLite::Database& database, std::int64_t time) {
    run(database,
        "DELETE FROM node_version WHERE id <= (SELECT max(id) FROM node_version) - ? "
        "AND (gone < ? OR EXISTS (SELECT 1 FROM node_version AS newer WHERE newer.vdi = node_version.vdi "
        "AND newer.id > node_version.id))",
        static_cast<std::int64_t>(history_bound), time - gone_bound);
}

} // namespace

void SqliteJournal::record_tree(const std::vector<NodeVersion>& nodes, bool complete) {
    const std::int64_t time = now();
    // Most scans see nothing new; an SR that is looked at often must not cost a flush each time.
    const bool worth_writing = look([&](SQLite::Database& database) {
        const auto before = newest_scan(database);
        const bool recent = before && *before <= time && time - *before < seen_resolution;
        return !recent || !difference(database, nodes, complete).empty();
    });
    if (!worth_writing) return;

    change([&](SQLite::Database& database) {
        const TreeChange tree = difference(database, nodes, complete); // again: another writer may have come between
        apply(database, tree, time);
        if (!tree.appeared.empty()) prune_versions(database, time);
        return run(database,
                   "INSERT INTO tree_scan (id, time) VALUES (1, ?) ON CONFLICT DO UPDATE SET time = "
                   "excluded.time",
                   time);
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

std::vector<NodeSpan> SqliteJournal::versions(const std::string& vdi, std::int64_t since) const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database,
                               "SELECT vdi, format, parent, hidden, virtual_size, seen, coalesce(last_seen, max(seen, "
                               "(SELECT time FROM tree_scan)), seen) AS last, gone IS NOT NULL FROM node_version "
                               "WHERE (?1 = '' OR vdi = ?1) AND last >= ?2 ORDER BY id"};
        SQLite::bind(rows, vdi, since);
        std::vector<NodeSpan> result;
        while (rows.executeStep())
            result.push_back({node_from(rows), rows.getColumn(5).getInt64(), rows.getColumn(6).getInt64(),
                              rows.getColumn(7).getInt() != 0});
        return result;
    });
}

} // namespace coppice::journal
