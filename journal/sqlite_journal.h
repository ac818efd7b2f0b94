// The journal on SQLite: a class whose methods stand in operations.cc, edits.cc, tree.cc and notes.cc.
#pragma once

#include "format/base/crash_point.h"
#include "format/base/passing_time.h"
#include "journal/database.h"
#include "journal/journal.h"

#include <SQLiteCpp/VariadicBind.h>

namespace coppice::journal {

inline std::int64_t now() {
    return unix_time();
}

// SQLite's integers are signed; sizes and inode numbers keep their bits.
inline std::int64_t stored(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}
inline std::int64_t stored(Bytes value) {
    return stored(value.count());
}
inline std::uint64_t restored(const SQLite::Column& column) {
    return static_cast<std::uint64_t>(column.getInt64());
}
inline std::int64_t stored_limit(std::size_t limit) {
    return stored(std::min<std::uint64_t>(limit, INT64_MAX));
}

inline void bind_optional(SQLite::Statement& statement, int place, const std::optional<std::int64_t>& value) {
    if (value)
        statement.bind(place, *value);
    else
        statement.bind(place);
}
inline std::optional<std::int64_t> optional_from(const SQLite::Column& column) {
    return column.isNull() ? std::nullopt : std::optional{column.getInt64()};
}

/// Returns how many rows were changed.
template <class... Values>
int run(SQLite::Database& database, const std::string& text, const Values&... values) {
    SQLite::Statement statement{database, text};
    SQLite::bind(statement, values...);
    return statement.exec();
}
/// The same with a statement that is used more than once. All its parameters must be in `values`.
template <class... Values>
int run(SQLite::Statement& statement, const Values&... values) {
    statement.reset();
    SQLite::bind(statement, values...);
    return statement.exec();
}

class SqliteJournal final : public Journal {
public:
    SqliteJournal(std::string path, std::string sr_key, Connection connection, Create create)
        : path_{std::move(path)}, sr_key_{std::move(sr_key)}, connection_{std::move(connection)}, writable_{
                                                                                                      create ==
                                                                                                      Create::yes} {}

    std::int64_t begin(const Operation& operation) override;
    void advance(std::int64_t id, Bytes cursor, Bytes copied, Bytes shared) override;
    void set_sources(std::int64_t id, const std::vector<Fingerprint>& sources) override;
    void take_up(std::int64_t id) override;
    void set_state(std::int64_t id, OperationState state, const std::string& error) override;
    std::vector<Operation> unfinished() const override;
    std::vector<Operation> history(const HistoryQuery& query) const override;

    std::int64_t begin_edit(const std::string& image, const FileIdentity& identity, const HeaderEdit& edit,
                            const std::vector<Overwrite>& before) override;
    void end_edit(std::int64_t id) override;
    std::vector<PendingEdit> pending_edits() const override;

    void record_tree(const std::vector<NodeVersion>& nodes, bool complete) override;
    std::optional<NodeVersion> last_known(const std::string& vdi) const override;
    std::vector<NodeSpan> versions(const std::string& vdi, std::int64_t since) const override;

    std::int64_t add_hold(const Hold& hold) override;
    bool release_hold(std::int64_t id) override;
    std::vector<Hold> holds(std::int64_t now) const override;
    void set_setting(const std::string& name, const std::optional<std::string>& value) override;
    std::optional<std::string> setting(const std::string& name) const override;
    void record_failure(const Retry& retry) override;
    void forget_failure(const std::string& vdi, const std::string& into) override;
    std::vector<Retry> retries() const override;
    void record_verdicts(const std::vector<VerdictRecord>& verdicts, std::int64_t now) override;
    std::vector<VerdictRecord> verdicts() const override;
    void record_speed(const SpeedSample& sample) override;
    std::vector<SpeedSample> speeds(std::size_t limit) const override;
    void record_event(const std::string& severity, const std::string& vdi, const std::string& text) override;
    std::vector<Event> events(const HistoryQuery& query) const override;

private:
    /// Runs `body` in a transaction that is durable when this returns.
    template <class Body>
    auto change(Body body) {
        if (!writable_) throw Error{"write to journal: " + path_ + ": opened for reading only"};
        return translated(path_, [&] {
            SQLite::Transaction write{*connection_.database, SQLite::TransactionBehavior::IMMEDIATE};
            // What is recorded in a file that nobody will open again is not recorded.
            if (has_moved(*connection_.database))
                throw Error{"write to journal: " + path_ + ": was set aside or removed"};
            auto result = body(*connection_.database);
            about_to_change();
            write.commit();
            return result;
        });
    }
    /// Runs `body` on one state of the journal. `body` may be run more than once.
    template <class Body>
    auto look(Body body) const {
        return translated(path_, [&] {
            return repeated_while_changing(path_, [&] {
                // A writer has come since the file was taken for one that nobody changes.
                if (is_outdated(connection_, path_)) connection_ = open_for_reading(path_, sr_key_);
                if (!connection_.database) throw NotFound{"journal", path_};
                SQLite::Transaction read{*connection_.database};
                auto result = body(*connection_.database);
                return is_outdated(connection_, path_) ? std::nullopt : std::make_optional(std::move(result));
            });
        });
    }
    std::vector<Operation> operations(const std::string& rest, const HistoryQuery& query) const;

    std::string path_;
    std::string sr_key_;
    mutable Connection connection_; ///< opened anew by a reader
    bool writable_;
};

} // namespace coppice::journal
