// Power is lost after every single call that a script of transactions makes to the disk. What is found then opens,
// holds every call that had returned, and of the one that was interrupted all or nothing.
#include "tests/journal/journal_directory.h"
#include "tests/journal/power_cut_vfs.h"

#include <chrono>
#include <functional>
#include <iostream>

namespace coppice::journal {
namespace {

using Create = Journal::Create;

constexpr const char* sr_key = "sr";
/// Times of the clock; those of the script are smaller.
constexpr std::int64_t clock_times = 1'500'000'000;

/// Every row of every table. Two runs differ in what the clock says, and only in that.
std::string rows_of(const std::string& path, const std::string& vfs = {}) {
    SQLite::Database database{path, SQLite::OPEN_READONLY, 0, vfs};
    std::vector<std::string> tables;
    SQLite::Statement names{database, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"};
    while (names.executeStep())
        tables.push_back(names.getColumn(0).getString());
    std::string result;
    for (const std::string& table : tables) {
        SQLite::Statement rows{database, "SELECT * FROM " + table + " ORDER BY 1, 2"};
        while (rows.executeStep()) {
            result += table + ":";
            for (int column = 0; column < rows.getColumnCount(); ++column) {
                const SQLite::Column value = rows.getColumn(column);
                const bool is_clock = value.isInteger() && value.getInt64() > clock_times;
                const std::string text = value.getString();
                result += " " + (is_clock ? "clock" : value.isNull() ? "null" : text);
            }
            result += "\n";
        }
    }
    return result;
}

using Step = std::function<void(Journal&)>;

struct Script {
    std::string name;
    std::function<void(const std::string& path)> prepare; ///< before the VFS is there
    std::vector<Step> steps;                              ///< after opening, which is step 0
    std::size_t steps_before_reopening = SIZE_MAX;        ///< closes the journal and opens it again after so many
    std::size_t steps_before_checkpoint = SIZE_MAX;
};

std::ostream& operator<<(std::ostream& out, const Script& script) {
    return out << script.name;
}

SQLite::Database raw(const std::string& path) {
    return SQLite::Database{path, SQLite::OPEN_READWRITE, 1000};
}

/// Has the log copied into the database, so that the next write begins it anew, over what it held.
void start_log_again(const std::string& path) {
    auto database = raw(path);
    EXPECT_EQ(database.execAndGet("PRAGMA wal_checkpoint(FULL)").getInt(), 0) << "the checkpoint did not finish";
}

struct Recording {
    std::vector<Picture> pictures;
    std::vector<std::string> states; ///< after opening and after each step
    bool renamed_unflushed = false;
};

Recording record(const Script& script) {
    const JournalDirectory directory;
    if (script.prepare) script.prepare(directory.path());
    Recording recording;
    PowerCutVfs vfs{directory.root()};
    const auto finish = [&] {
        vfs.finish_step();
        recording.states.push_back(rows_of(directory.path(), vfs.real()->zName));
    };
    auto journal = Journal::open(directory.path(), Create::yes, sr_key);
    finish();
    for (std::size_t i = 0; i < script.steps.size(); ++i) {
        if (i != 0 && i % script.steps_before_reopening == 0) {
            journal.reset();
            journal = Journal::open(directory.path(), Create::yes, sr_key);
        }
        if (i != 0 && i % script.steps_before_checkpoint == 0) start_log_again(directory.path());
        script.steps[i](*journal);
        finish();
    }
    journal.reset();
    recording.pictures = vfs.pictures();
    recording.renamed_unflushed = vfs.renamed_unflushed();
    return recording;
}

/// So that nobody waits for the clock that stamps files.
void age(const JournalDirectory& directory) {
    for (const auto& entry : std::filesystem::directory_iterator{directory.root()})
        std::filesystem::last_write_time(entry, std::filesystem::file_time_type::clock::now() - std::chrono::hours{1});
}

/// What the index of the log holds when the machine comes back is anybody's guess.
void leave_index(const JournalDirectory& directory, std::mt19937& random) {
    const auto kind = random() % 3;
    if (kind == 0 || !std::filesystem::exists(directory.path() + "-wal")) return;
    std::string content(32768, '\0');
    if (kind == 2)
        for (char& byte : content)
            byte = static_cast<char>(random());
    std::ofstream{directory.path() + "-shm", std::ios::binary} << content;
}

void expect_opens_as_left(const Recording& recording, const Picture& picture, const JournalDirectory& directory) {
    const auto finished = static_cast<std::size_t>(picture.finished);
    const bool is_readable = Journal::open(directory.path(), Create::no, sr_key) != nullptr;
    EXPECT_TRUE(finished == 0 || is_readable) << "the journal is gone";
    const auto journal = Journal::open(directory.path(), Create::yes, sr_key);
    const std::string found = rows_of(directory.path());
    const std::string& before = recording.states[finished == 0 ? 0 : finished - 1];
    const std::string& after = recording.states[std::min(finished, recording.states.size() - 1)];
    EXPECT_TRUE(found == before || found == after) << "found:\n"
                                                   << found << "\nexpected:\n"
                                                   << before << "\nor:\n"
                                                   << after;
    journal->record_event("info", "", "works again");
    EXPECT_EQ(journal->events(1).at(0).text, "works again");
}

void develop(const Picture& picture, Survival survival, std::mt19937& random, const JournalDirectory& directory) {
    picture.develop(directory.root(), survival, random);
    leave_index(directory, random);
    age(directory);
}

/// Power is lost again while the journal is opened after the first time.
void expect_opens_after_another_cut(const Recording& recording, const Picture& first, std::mt19937& random) {
    std::vector<Picture> pictures;
    {
        const JournalDirectory directory;
        develop(first, Survival::chance, random, directory);
        const PowerCutVfs vfs{directory.root()};
        Journal::open(directory.path(), Create::yes, sr_key);
        pictures = vfs.pictures();
    }
    for (Picture& second : pictures) {
        SCOPED_TRACE("and again after: " + second.call);
        const JournalDirectory directory;
        develop(second, Survival::chance, random, directory);
        second.finished = first.finished;
        expect_opens_as_left(recording, second, directory);
    }
}

// ---- scripts ----

void copy_version_1(const std::string& path) {
    std::filesystem::copy_file(
        std::filesystem::path{__FILE__}.parent_path().parent_path() / "data" / "journal" / "schema-1.db", path);
}

const HeaderEdit edit{{{{Bytes{512}, {std::byte{1}, std::byte{0}}}}, {{Bytes{0}, {std::byte{3}}}}}};

Operation ended(const std::string& vdi) {
    Operation operation = merge_of(vdi);
    operation.state = OperationState::done;
    operation.ended = 2000;
    return operation;
}

std::vector<Step> every_method() {
    return {
        [](Journal& j) { j.begin(merge_of("a")); },
        [](Journal& j) { j.advance(1, 64_MiB, 10_MiB, 54_MiB); },
        [](Journal& j) { j.set_state(1, OperationState::merged); },
        [](Journal& j) {
            j.set_sources(1, {{"z", {1, 2, 3, 4}}, {"y", {5, 6, 7, 8}}});
        },
        [](Journal& j) {
            j.begin_edit("a.vhd", {1, 2, 3, 4}, edit, {{Bytes{512}, {std::byte{7}, std::byte{8}}}});
        },
        [](Journal& j) { j.take_up(1); },
        [](Journal& j) { j.begin(merge_of("b")); },
        [](Journal& j) { j.end_edit(1); },
        [](Journal& j) { j.set_state(1, OperationState::done); },
        [](Journal& j) { j.set_state(2, OperationState::abandoned, "no space"); },
        [](Journal& j) {
            j.record_tree({{"p", "vhd", {}, true, 10}, {"l", "vhd", "p", false, 20}}, true);
        },
        [](Journal& j) {
            j.record_tree({{"l", "vhd", "p", false, 20}}, false);
        },
        [](Journal& j) {
            j.record_tree({{"p", "vhd", {}, true, 10}, {"l", "vhd", {}, false, 20}}, true);
        },
        [](Journal& j) {
            j.record_tree({{"l", "vhd", {}, false, 20}, {"n", "qcow2", "l", false, 7}}, true);
        },
        [](Journal& j) {
            j.add_hold({0, "l", "root", "migration", 1000, 2000});
        },
        [](Journal& j) {
            j.add_hold({0, "p", "root", "", 1000, {}});
        },
        [](Journal& j) { j.release_hold(2); },
        [](Journal& j) {
            j.add_hold({0, "n", "root", "the first has expired", 3000, {}});
        },
        [](Journal& j) { j.set_setting("pause", "until-danger"); },
        [](Journal& j) { j.set_setting("pause", "absolute"); },
        [](Journal& j) { j.set_setting("pause", std::nullopt); },
        [](Journal& j) {
            j.record_failure({"l", "p", "no-space", "needs 5", 0, 1000, 1060});
        },
        [](Journal& j) {
            j.record_failure({"l", "p", "no-space", "needs 6", 0, 1100, 1220});
        },
        [](Journal& j) {
            j.record_failure({"n", "", "held", "", 0, 1100, 1220 + 2 * retry_bound});
        },
        [](Journal& j) { j.forget_failure("n", ""); },
        [](Journal& j) {
            j.record_verdicts({{"l", "waiting", "held", "by root", 0}, {"p", "planned", "", "", 0}}, 9);
        },
        [](Journal& j) {
            j.record_verdicts({{"l", "waiting", "paused", "", 0}, {"n", "planned", "", "", 0}}, 10);
        },
        [](Journal& j) {
            j.record_speed({1000, "copied", 64_MiB, 0.5});
        },
        [](Journal& j) { j.record_event("error", "l", "it's \"quoted\""); },
    };
}

/// As many rows as are kept, so that the next call of each kind drops one or more.
void fill_to_the_bounds(const std::string& path) {
    Journal::open(path, Create::yes, sr_key);
    auto database = raw(path);
    const auto numbers = [](std::size_t count) {
        return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " + std::to_string(count) +
               ") ";
    };
    database.exec("BEGIN");
    database.exec(numbers(speeds_bound) +
                  "INSERT INTO speed (time, kind, bytes, seconds) SELECT i, 'copied', i, 1 FROM n");
    database.exec("INSERT INTO event (time, severity, vdi, text) VALUES (1, '', '', '')");
    database.exec(numbers(history_bound) +
                  "INSERT INTO operation (kind, vdi, into_vdi, direction, step, state, cursor, copied_bytes, "
                  "shared_bytes, started, ended) SELECT '', i, '', '', '', 'done', 0, 0, 0, 1, 2 FROM n");
    database.exec("INSERT INTO operation_source VALUES (1, 0, 'v', 1, 2, 3, 4)");
    database.exec(
        "INSERT INTO node_version (vdi, format, hidden, virtual_size, seen, last_seen) VALUES ('l', '', 0, 1, 1, 1)");
    database.exec("INSERT INTO node_version (vdi, format, hidden, virtual_size, seen) VALUES ('l', '', 0, 2, 2)");
    database.exec("INSERT INTO node_version (vdi, format, hidden, virtual_size, seen, last_seen, gone) "
                  "VALUES ('g', '', 0, 2, 2, 3, 4)");
    // Where the bound is one of ids, a gap does for rows.
    database.exec("UPDATE sqlite_sequence SET seq = 20000 WHERE name IN ('node_version', 'event')");
    database.exec("COMMIT");
}

std::vector<Step> pruning() {
    return {
        [](Journal& j) {
            j.record_speed({1000, "shared", 64_MiB, 0.5});
        },
        [](Journal& j) { j.record_event("info", "", "the first goes"); },
        [](Journal& j) { j.begin(ended("a")); },
        [](Journal& j) {
            j.record_tree({{"l", "vhd", {}, false, 3}}, true);
        },
    };
}

std::vector<Script> scripts() {
    Script creation{"Creation", {}, every_method()};
    Script migration{"Migration", copy_version_1, {[](Journal& j) { j.record_event("info", "", "migrated"); }}};
    Script reopening{"Reopening", {}, every_method(), 2};
    Script bounds{"Pruning", fill_to_the_bounds, pruning()};
    Script log_again{"LogBegunAnew", {}, every_method(), SIZE_MAX, 2};
    return {creation, migration, reopening, log_again, bounds};
}

class PowerCut : public testing::TestWithParam<Script> {
protected:
    static void check(const Script& script, int chances);
};

void PowerCut::check(const Script& script, int chances) {
    const Recording recording = record(script);
    ASSERT_EQ(recording.states.size(), script.steps.size() + 1);
    EXPECT_FALSE(recording.renamed_unflushed);
    std::vector<Survival> survivals{Survival::nothing, Survival::everything};
    survivals.insert(survivals.end(), static_cast<std::size_t>(chances), Survival::chance);
    std::uint32_t seed = 0;
    for (const Picture& picture : recording.pictures) {
        for (const Survival survival : survivals) {
            std::mt19937 random{++seed};
            SCOPED_TRACE("power lost after: " + picture.call + ", steps finished: " + std::to_string(picture.finished) +
                         ", survival " + std::to_string(static_cast<int>(survival)) + ", seed " + std::to_string(seed));
            const JournalDirectory directory;
            develop(picture, survival, random, directory);
            ASSERT_NO_THROW(expect_opens_as_left(recording, picture, directory));
            if (seed % 29 == 0) {
                ASSERT_NO_THROW(expect_opens_after_another_cut(recording, picture, random));
            }
            if (HasFailure()) return;
        }
    }
    std::cout << recording.pictures.size() << " moments, " << seed << " power cuts\n";
}

TEST_P(PowerCut, LosesNothingThatReturnedAndLeavesNothingHalf) {
    check(GetParam(), 2);
}

INSTANTIATE_TEST_SUITE_P(Journal, PowerCut, testing::ValuesIn(scripts()),
                         [](const auto& parameter) { return parameter.param.name; });

} // namespace
} // namespace coppice::journal
