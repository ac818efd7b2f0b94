#include "gc/sm/sm_locks.h"

#include "format/base/error.h"
#include "gc/sm/sm_flags.h"
#include "gc/sm/sm_gate.h"
#include "tests/support/temporary_directory.h"

#include <gmock/gmock.h>

#include <array>
#include <array>
#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <mutex>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace coppice {
namespace {

const std::string sr = "0f0e0d0c-0b0a-0908-0706-050403020100";
const std::string vdi = "11111111-2222-4333-8444-555555555555";

/// A process that locks a file as sm does, until it is killed.
class SmProcess {
public:
    /// `command`: F_SETLK or F_SETLKW. Returns when the lock is held, or right before it is waited for.
    SmProcess(const std::string& path, int command) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error{"pipe"};
        child_ = ::fork();
        if (child_ == 0) run(path, command, ends[1]);
        ::close(ends[1]);
        char ready = 0;
        if (::read(ends[0], &ready, 1) != 1) throw std::runtime_error{"child"};
        ::close(ends[0]);
    }
    ~SmProcess() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    SmProcess(const SmProcess&) = delete;
    SmProcess& operator=(const SmProcess&) = delete;
    pid_t pid() const { return child_; }

private:
    [[noreturn]] static void run(const std::string& path, int command, int ready) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        if (command == F_SETLKW && ::write(ready, "x", 1) != 1) ::_exit(1);
        if (::fcntl(file, command, &lock) != 0) ::_exit(1);
        if (command == F_SETLK && ::write(ready, "x", 1) != 1) ::_exit(1);
        for (;;)
            ::pause();
    }

    pid_t child_ = 0;
};

class SmLocksTest : public testing::Test {
protected:
    SmLocksTest() { std::filesystem::create_directories(root_.path() / "locks" / vdi); }
    std::string file(const std::string& space, const std::string& name) const {
        return root_ / ("locks/" + space + "/" + name);
    }
    std::string flags() const { return root_ / "ipc/flags"; }

    const test::TemporaryDirectory root_;
    const SmLocks locks_{root_ / "locks"};
};

TEST_F(SmLocksTest, NamesTheProcessThatHoldsALock) {
    const SmProcess other{file(vdi, "vdi"), F_SETLK};
    EXPECT_FALSE(locks_.try_take(vdi, "vdi"));
    EXPECT_THAT(locks_.holder(vdi, "vdi"), testing::HasSubstr("pid " + std::to_string(other.pid())));
}

TEST_F(SmLocksTest, SeesWhoWaits) {
    auto lock = locks_.try_take(vdi, "vdi");
    ASSERT_TRUE(lock);
    EXPECT_FALSE(lock->is_wanted());
    const SmProcess other{file(vdi, "vdi"), F_SETLKW};
    while (!lock->is_wanted()) // ends: it is about to wait
        std::this_thread::yield();
}

TEST_F(SmLocksTest, AFileThatIsRemovedCountsAsWanted) { // who comes next locks another file
    auto lock = locks_.try_take(vdi, "vdi");
    ASSERT_TRUE(lock);
    std::filesystem::remove(file(vdi, "vdi"));
    EXPECT_TRUE(lock->is_wanted());
    EXPECT_TRUE(locks_.try_take(vdi, "vdi"));
}

TEST_F(SmLocksTest, AnotherDescriptorOfTheFileDoesNotLoseTheLock) {
    const auto lock = locks_.try_take(vdi, "vdi");
    ::close(::open(file(vdi, "vdi").c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_FALSE(locks_.try_take(vdi, "vdi"));
}

TEST_F(SmLocksTest, PassageHoldsTheSrAndItsLeaves) {
    SmGate gate{locks_, root_ / "run", sr};
    {
        const auto passage = gate.enter({vdi}, {});
        EXPECT_FALSE(locks_.try_take(sr, "sr"));
        EXPECT_FALSE(locks_.try_take(vdi, "vdi"));
    }
    EXPECT_TRUE(locks_.try_take(sr, "sr"));
    EXPECT_TRUE(locks_.try_take(vdi, "vdi"));
    EXPECT_EQ(gate.times().count, 1U);
    EXPECT_GT(gate.times().longest.count(), 0);
}

TEST_F(SmLocksTest, ABusyLeafGivesTheSrBack) {
    SmGate gate{locks_, root_ / "run", sr};
    const SmProcess other{file(vdi, "vdi"), F_SETLK};
    EXPECT_THROW(gate.enter({vdi}, {}), Busy);
    EXPECT_THROW(gate.guard(vdi), Busy);
    EXPECT_TRUE(locks_.try_take(sr, "sr"));
}

TEST_F(SmLocksTest, AskingForTheSrEndsWithAStop) {
    std::filesystem::create_directories(root_ / ("locks/" + sr));
    const SmProcess other{file(sr, "sr"), F_SETLK};
    SmGate gate{locks_, root_ / "run", sr};
    std::stop_source stop;
    std::jthread later{[&] { stop.request_stop(); }};
    EXPECT_THROW(gate.enter({}, stop.get_token()), StopRequested);
}

TEST_F(SmLocksTest, AGuardedLeafThatIsWantedEndsTheAsking) { // its waiter may be the one that holds `sr`
    std::filesystem::create_directories(root_ / ("locks/" + sr));
    SmGate gate{locks_, root_ / "run", sr};
    const auto guard = gate.guard(vdi);
    const SmProcess holder{file(sr, "sr"), F_SETLK};
    const SmProcess waiter{file(vdi, "vdi"), F_SETLKW};
    EXPECT_THROW(gate.enter({vdi}, {}), Busy);
}

TEST_F(SmLocksTest, RunFileTellsOfAMergeAndHearsItsEnd) {
    SmGate gate{locks_, root_ / "run", sr};
    const std::string path = root_ / ("run/" + sr + "/gc_running_" + vdi);
    {
        const auto announcement = gate.announce(vdi);
        EXPECT_EQ(std::filesystem::file_size(path), 1U);
        EXPECT_FALSE(announcement->stop_wanted());
        std::ofstream{path, std::ios::trunc};
        EXPECT_TRUE(announcement->stop_wanted());
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    std::ofstream{path} << "1";
    const SmGate next{locks_, root_ / "run", sr};
    EXPECT_FALSE(std::filesystem::exists(path)) << "of a dead run";
}

/// Waits for the stop, however long it takes.
void wait_for(const std::stop_token& token) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock held{mutex};
    wake.wait(held, token, [] { return false; });
}

TEST_F(SmLocksTest, AbortIsHeardThoughItsDirectoryDidNotExist) {
    const AbortWatch watch{flags(), {}};
    std::filesystem::create_directories(flags());
    std::ofstream{flags() + "/abort"} << ::getpid() << "\n";
    wait_for(watch.token());
}

TEST_F(SmLocksTest, AbortThatStandsAlreadyIsHeardBeforeAnythingBegins) {
    std::filesystem::create_directories(flags());
    std::ofstream{flags() + "/abort"} << ::getpid() << "\n";
    for (int attempt = 0; attempt < 100; ++attempt) { // no thread is asked: one could be quick once
        const AbortWatch watch{flags(), {}};
        ASSERT_TRUE(watch.token().stop_requested());
    }
}

TEST_F(SmLocksTest, AFileInTheWayOfFlagsKeepsNobodyBusy) {
    std::filesystem::create_directories(std::filesystem::path{flags()}.parent_path());
    std::ofstream{flags()} << "no directory";
    { const AbortWatch watch{flags(), {}}; } // ends only when its thread does
    const AbortWatch watch{flags(), {}};
    EXPECT_FALSE(watch.token().stop_requested());
    std::filesystem::remove(flags());
    std::filesystem::create_directories(flags());
    std::ofstream{flags() + "/abort"} << ::getpid() << "\n";
    wait_for(watch.token());
}

/// From now on this process gets no inotify instance, as if all were in use.
bool forbid_inotify() {
    std::array<sock_filter, 4> filter{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_inotify_init1, 0, 1),
                                       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EMFILE),
                                       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
    const sock_fprog program{filter.size(), filter.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// In a process of its own.
int exit_status_without_inotify(const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (!forbid_inotify()) ::_exit(101);
        if (::inotify_init1(IN_CLOEXEC) >= 0 || errno != EMFILE) ::_exit(102);
        try {
            ::_exit(body());
        } catch (const std::exception&) {
            ::_exit(103);
        }
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(SmLocksTest, AbortIsHeardWhereNoWatchIsToBeHad) {
    std::filesystem::create_directories(flags());
    EXPECT_EQ(exit_status_without_inotify([&] {
                  const AbortWatch watch{flags(), {}};
                  if (watch.token().stop_requested()) return 1;
                  std::ofstream{flags() + "/abort"} << ::getpid() << "\n" << std::flush;
                  wait_for(watch.token());
                  return 0;
              }),
              0);
}

TEST_F(SmLocksTest, AbortOfADeadProcessIsRemoved) {
    std::filesystem::create_directories(flags());
    pid_t dead = ::fork();
    if (dead == 0) ::_exit(0);
    ::waitpid(dead, nullptr, 0);
    std::ofstream{flags() + "/abort"} << dead << "\n";
    EXPECT_FALSE(abort_requested(flags()));
    EXPECT_FALSE(std::filesystem::exists(flags() + "/abort"));
}

} // namespace
} // namespace coppice
