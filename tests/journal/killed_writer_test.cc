// A writer is killed again and again; what it reported as written must be there, complete, and nothing half.
#include "tests/journal/journal_directory.h"

#include <csignal>
#include <random>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace coppice::journal {
namespace {

/// Writes operations without end, and reports each one on `report` once it is durable.
[[noreturn]] void write_without_end(const std::string& path, int report) {
    const auto journal = Journal::open(path, Journal::Create::yes);
    for (;;) {
        const std::int64_t id = journal->begin(merge_of("vdi"));
        for (std::uint64_t step = 1; step <= 3; ++step) {
            journal->advance(id, Bytes{step}, Bytes{step}, 0_B);
            const std::int64_t done[] = {id, static_cast<std::int64_t>(step)};
            if (::write(report, done, sizeof done) != sizeof done) ::_exit(1);
        }
    }
}

struct Report {
    std::int64_t id = 0;
    std::int64_t cursor = 0;
};

Report run_and_kill(const std::string& path, unsigned reports_before_kill) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error{"pipe"};
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(ends[0]);
        write_without_end(path, ends[1]);
    }
    ::close(ends[1]);
    Report last;
    Report next;
    for (unsigned count = 0; ::read(ends[0], &next, sizeof next) == sizeof next; ++count) {
        last = next;
        if (count == reports_before_kill) ::kill(child, SIGKILL);
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    return last;
}

TEST(KilledWriter, LosesNothingItReported) {
    const JournalDirectory directory;
    std::mt19937 random{1};
    for (int round = 0; round < 20; ++round) {
        const Report last = run_and_kill(directory.path(), static_cast<unsigned>(random() % 40));
        if (round % 2 == 0) {
            const auto before = directory.snapshot();
            const auto reader = directory.open(Journal::Create::no);
            ASSERT_NE(reader, nullptr);
            EXPECT_GE(reader->history(1).at(0).id, last.id);
            EXPECT_TRUE(directory.snapshot() == before) << "a reader recovers nothing on disk";
        }
        const auto journal = directory.open();
        for (const Operation& operation : journal->unfinished()) {
            EXPECT_EQ(operation.sources, merge_of("vdi").sources) << "half an operation";
            EXPECT_EQ(operation.cursor, operation.copied_bytes);
            EXPECT_LE(operation.cursor, 3_B);
            if (operation.id == last.id) {
                EXPECT_GE(operation.cursor.count(), static_cast<std::uint64_t>(last.cursor));
            }
        }
    }
}

/// What waitpid says of the child, which is traced.
int next_stop(pid_t child) {
    int status = 0;
    if (::waitpid(child, &status, 0) != child) throw std::runtime_error{"waitpid"};
    return status;
}

/// Runs `act` in a process of its own, which is killed after `calls` system calls. False where it does not make so
/// many.
template <class Act>
bool kill_after(unsigned calls, Act act) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(2);
        ::raise(SIGSTOP);
        act();
        ::_exit(0);
    }
    int status = next_stop(child);
    // It stops twice for each: before the call and behind it.
    for (unsigned passed = 0; WIFSTOPPED(status) && passed < 2 * calls; ++passed) {
        ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
        status = next_stop(child);
    }
    if (WIFSTOPPED(status)) {
        ::kill(child, SIGKILL);
        status = next_stop(child);
        EXPECT_TRUE(WIFSIGNALED(status));
        return true;
    }
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the process could not be traced, or failed";
    return false;
}

TEST(KilledWriter, LeavesNoHalfJournalWhereverItIsKilledWhileMakingIt) {
    bool killed = true;
    for (unsigned calls = 0; killed && !HasFailure(); ++calls) {
        SCOPED_TRACE(calls);
        const JournalDirectory directory;
        killed = kill_after(calls, [&] { Journal::open(directory.path(), Journal::Create::yes); });
        const auto reader = directory.open(Journal::Create::no);
        EXPECT_TRUE(reader == nullptr || reader->history(1).empty());
        directory.open()->record_event("info", "", "works");
        if (!killed) {
            EXPECT_GT(calls, 20U) << "these cannot have made a journal";
        }
    }
}

} // namespace
} // namespace coppice::journal
