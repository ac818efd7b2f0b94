// Holds, settings, failures, verdicts, speeds and events.
#include "journal/sqlite_journal.h"

#include <map>
#include <stdexcept>

namespace coppice::journal {
namespace {

void forget_expired_holds(SQLite::Database& database, std::int64_t time) {
    run(database, "DELETE FROM hold WHERE expires <= ?", time);
}

std::map<std::string, VerdictRecord> verdicts_in(SQLite::Database& database) {
    SQLite::Statement rows{database, "SELECT vdi, verdict, reason, text, since FROM verdict"};
    std::map<std::string, VerdictRecord> result;
    while (rows.executeStep()) {
        VerdictRecord record{rows.getColumn(0).getString(), rows.getColumn(1).getString(),
                             rows.getColumn(2).getString(), rows.getColumn(3).getString(),
                             rows.getColumn(4).getInt64()};
        std::string vdi = record.vdi;
        result.emplace(std::move(vdi), std::move(record));
    }
    return result;
}

struct VerdictChange {
    std::vector<VerdictRecord> said; ///< new ones, or others than before
    std::vector<std::string> unsaid; ///< VDIs
};

VerdictChange difference(std::map<std::string, VerdictRecord> before, const std::vector<VerdictRecord>& verdicts,
                         std::int64_t now) {
    VerdictChange change;
    for (VerdictRecord record : verdicts) {
        record.since = now;
        const auto place = before.find(record.vdi);
        if (place != before.end()) {
            const VerdictRecord& known = place->second;
            if (known.verdict == record.verdict && known.reason == record.reason) record.since = known.since;
            const bool same = known == record;
            before.erase(place);
            if (same) continue;
        }
        change.said.push_back(std::move(record));
    }
    for (auto& [vdi, record] : before)
        change.unsaid.push_back(vdi);
    return change;
}

void expect_each_once(const std::vector<VerdictRecord>& verdicts) {
    std::map<std::string_view, int> count;
    for (const VerdictRecord& record : verdicts)
        if (++count[record.vdi] > 1) throw std::logic_error{"record verdicts: VDI " + record.vdi + " has two"};
}

} // namespace

std::int64_t SqliteJournal::add_hold(const Hold& hold) {
    const std::int64_t created = hold.created != 0 ? hold.created : now();
    return change([&](SQLite::Database& database) {
        forget_expired_holds(database, created);
        SQLite::Statement insert{database,
                                 "INSERT INTO hold (vdi, owner, reason, created, expires) VALUES (?, ?, ?, ?, ?)"};
        SQLite::bind(insert, hold.vdi, hold.owner, hold.reason, created);
        bind_optional(insert, 5, hold.expires);
        insert.exec();
        return database.getLastInsertRowid();
    });
}

bool SqliteJournal::release_hold(std::int64_t id) {
    return change([&](SQLite::Database& database) { return run(database, "DELETE FROM hold WHERE id = ?", id); }) == 1;
}

std::vector<Hold> SqliteJournal::holds(std::int64_t now) const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database, "SELECT id, vdi, owner, reason, created, expires FROM hold "
                                         "WHERE expires IS NULL OR expires > ? ORDER BY id"};
        rows.bind(1, now);
        std::vector<Hold> result;
        while (rows.executeStep())
            result.push_back({rows.getColumn(0).getInt64(), rows.getColumn(1).getString(),
                              rows.getColumn(2).getString(), rows.getColumn(3).getString(),
                              rows.getColumn(4).getInt64(), optional_from(rows.getColumn(5))});
        return result;
    });
}

void SqliteJournal::set_setting(const std::string& name, const std::optional<std::string>& value) {
    change([&](SQLite::Database& database) {
        if (!value) return run(database, "DELETE FROM setting WHERE name = ?", name);
        return run(database,
                   "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                   name, *value);
    });
}

std::optional<std::string> SqliteJournal::setting(const std::string& name) const {
    return look([&](SQLite::Database& database) -> std::optional<std::string> {
        SQLite::Statement rows{database, "SELECT value FROM setting WHERE name = ?"};
        rows.bind(1, name);
        if (!rows.executeStep()) return std::nullopt;
        return rows.getColumn(0).getString();
    });
}

void SqliteJournal::record_failure(const Retry& retry) {
    change([&](SQLite::Database& database) {
        run(database, "DELETE FROM retry WHERE next < ?", retry.next - retry_bound);
        return run(database,
                   "INSERT INTO retry (vdi, into_vdi, reason, text, attempts, since, next) "
                   "VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET reason = excluded.reason, "
                   "text = excluded.text, attempts = attempts + 1, next = excluded.next",
                   retry.vdi, retry.into, retry.reason, retry.text, retry.since != 0 ? retry.since : now(), retry.next);
    });
}

void SqliteJournal::forget_failure(const std::string& vdi, const std::string& into) {
    const bool known = look([&](SQLite::Database& database) {
        SQLite::Statement row{database, "SELECT 1 FROM retry WHERE vdi = ? AND into_vdi = ?"};
        SQLite::bind(row, vdi, into);
        return row.executeStep();
    });
    if (!known) return; // every step that succeeds is reported; that must not cost a flush each time
    change([&](SQLite::Database& database) {
        return run(database, "DELETE FROM retry WHERE vdi = ? AND into_vdi = ?", vdi, into);
    });
}

std::vector<Retry> SqliteJournal::retries() const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database, "SELECT vdi, into_vdi, reason, text, attempts, since, next FROM retry "
                                         "ORDER BY next, vdi, into_vdi"};
        std::vector<Retry> result;
        while (rows.executeStep())
            result.push_back({rows.getColumn(0).getString(), rows.getColumn(1).getString(),
                              rows.getColumn(2).getString(), rows.getColumn(3).getString(), rows.getColumn(4).getUInt(),
                              rows.getColumn(5).getInt64(), rows.getColumn(6).getInt64()});
        return result;
    });
}

void SqliteJournal::record_verdicts(const std::vector<VerdictRecord>& verdicts, std::int64_t now) {
    expect_each_once(verdicts);
    const VerdictChange seen =
        look([&](SQLite::Database& database) { return difference(verdicts_in(database), verdicts, now); });
    if (seen.said.empty() && seen.unsaid.empty()) return; // most cycles say what was said before
    change([&](SQLite::Database& database) {
        const VerdictChange changed = difference(verdicts_in(database), verdicts, now);
        SQLite::Statement unsay{database, "DELETE FROM verdict WHERE vdi = ?"};
        for (const std::string& vdi : changed.unsaid)
            run(unsay, vdi);
        SQLite::Statement say{database, "INSERT OR REPLACE INTO verdict (vdi, verdict, reason, text, since) "
                                        "VALUES (?, ?, ?, ?, ?)"};
        for (const VerdictRecord& record : changed.said)
            run(say, record.vdi, record.verdict, record.reason, record.text, record.since);
        return 0;
    });
}

std::vector<VerdictRecord> SqliteJournal::verdicts() const {
    const auto by_vdi = look([](SQLite::Database& database) { return verdicts_in(database); });
    std::vector<VerdictRecord> result;
    for (const auto& [vdi, record] : by_vdi)
        result.push_back(record);
    return result;
}

void SqliteJournal::record_speed(const SpeedSample& sample) {
    change([&](SQLite::Database& database) {
        run(database, "INSERT INTO speed (time, kind, bytes, seconds) VALUES (?, ?, ?, ?)",
            sample.time != 0 ? sample.time : now(), sample.kind, stored(sample.bytes), sample.seconds);
        return run(database, "DELETE FROM speed WHERE id <= (SELECT max(id) FROM speed) - ?",
                   static_cast<std::int64_t>(speeds_bound));
    });
}

std::vector<SpeedSample> SqliteJournal::speeds(std::size_t limit) const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database, "SELECT time, kind, bytes, seconds FROM speed ORDER BY id DESC LIMIT ?"};
        rows.bind(1, stored_limit(limit));
        std::vector<SpeedSample> result;
        while (rows.executeStep())
            result.push_back({rows.getColumn(0).getInt64(), rows.getColumn(1).getString(),
                              Bytes{restored(rows.getColumn(2))}, rows.getColumn(3).getDouble()});
        return result;
    });
}

void SqliteJournal::record_event(const std::string& severity, const std::string& vdi, const std::string& text) {
    change([&](SQLite::Database& database) {
        run(database, "INSERT INTO event (time, severity, vdi, text) VALUES (?, ?, ?, ?)", now(), severity, vdi, text);
        return run(database, "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?",
                   static_cast<std::int64_t>(history_bound));
    });
}

std::vector<Event> SqliteJournal::events(const HistoryQuery& query) const {
    return look([&](SQLite::Database& database) {
        SQLite::Statement rows{database, "SELECT time, severity, vdi, text FROM event WHERE (?2 IS NULL OR time >= ?2) "
                                         "AND (?3 = '' OR vdi = ?3) ORDER BY id DESC LIMIT ?1"};
        rows.bind(1, stored_limit(query.limit));
        bind_optional(rows, 2, query.since);
        rows.bind(3, query.vdi);
        std::vector<Event> result;
        while (rows.executeStep())
            result.push_back({rows.getColumn(0).getInt64(), rows.getColumn(1).getString(),
                              rows.getColumn(2).getString(), rows.getColumn(3).getString()});
        return result;
    });
}

} // namespace coppice::journal
