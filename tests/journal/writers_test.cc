// Threads and processes that make, open, write and read one journal at the same time: nothing is lost, nobody fails.
#include "tests/journal/journal_directory.h"

#include <fcntl.h>
#include <functional>
#include <iostream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace coppice::journal {
namespace {

constexpr int rounds = 30;

/// Opens the journal anew every few rounds, so that the last one to close copies the log and removes it.
void write(const std::string& path, const std::string& name) {
    std::unique_ptr<Journal> journal;
    for (int round = 0; round < rounds; ++round) {
        if (round % 3 == 0) {
            journal.reset();
            journal = Journal::open(path, Journal::Create::yes, "sr");
        }
        journal->record_event("info", name, std::to_string(round));
        journal->record_failure({"shared", "", "busy", name, 0, 1, 1000});
        const std::int64_t id = journal->begin(merge_of(name));
        journal->advance(id, Bytes{static_cast<std::uint64_t>(round)}, 0_B, 0_B);
        journal->set_state(id, OperationState::done);
        journal->record_tree({{name, "vhd", {}, false, static_cast<std::uint64_t>(round)}}, false);
    }
}

/// What a reader sees never shrinks.
void read(const std::string& path, int until_closed) {
    std::size_t seen = 0;
    char end = 0;
    for (bool last = false; !last;) {
        last = ::read(until_closed, &end, 1) == 0;
        const auto journal = Journal::open(path, Journal::Create::no, "sr");
        if (journal == nullptr) continue;
        for (int look = 0; look < 3; ++look) {
            const std::size_t now = journal->events(100'000).size();
            if (now < seen) throw std::runtime_error{"what was committed is gone"};
            seen = now;
        }
    }
    if (seen != std::size_t{3} * rounds) throw std::runtime_error{"saw " + std::to_string(seen) + " events"};
}

int status_of(const std::function<void()>& body) {
    try {
        body();
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "process " << ::getpid() << ": " << error.what() << "\n";
        return 1;
    }
}

pid_t start(const std::function<void()>& body) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(status_of(body));
    return child;
}

bool succeeded(pid_t child) {
    int status = 0;
    return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(JournalWriters, LoseNothingToEachOther) {
    const JournalDirectory directory;
    const std::string path = directory.path();
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    const pid_t reader = start([&] {
        ::close(ends[1]);
        read(path, ends[0]);
    });
    const pid_t process = start([&] { write(path, "process"); });
    int failures[2] = {};
    {
        std::jthread one{[&] { failures[0] = status_of([&] { write(path, "one"); }); }};
        std::jthread two{[&] { failures[1] = status_of([&] { write(path, "two"); }); }};
    }
    EXPECT_TRUE(succeeded(process));
    EXPECT_EQ(failures[0] + failures[1], 0);
    ::close(ends[1]);
    EXPECT_TRUE(succeeded(reader));
    ::close(ends[0]);

    const auto journal = directory.open();
    EXPECT_EQ(journal->retries().at(0).attempts, 3U * rounds) << "a failure was not counted";
    for (const std::string name : {"process", "one", "two"}) {
        HistoryQuery query;
        query.vdi = name;
        EXPECT_EQ(journal->events(query).size(), std::size_t{rounds});
        const auto operations = journal->history(query);
        ASSERT_EQ(operations.size(), std::size_t{rounds});
        for (std::size_t i = 0; i < operations.size(); ++i) {
            EXPECT_EQ(operations[i].cursor.count(), rounds - 1 - i);
            EXPECT_EQ(operations[i].state, OperationState::done);
            EXPECT_EQ(operations[i].sources.size(), 2U);
        }
        EXPECT_EQ(journal->versions(name, 0).size(), std::size_t{rounds});
    }
}

} // namespace
} // namespace coppice::journal
