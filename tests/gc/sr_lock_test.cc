#include "gc/sm/sr_lock.h"

#include "format/base/error.h"
#include "tests/support/temporary_directory.h"

#include <gmock/gmock.h>

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace coppice {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string uuid = "0f0e0d0c-0b0a-0908-0706-050403020100";

class SrLockTest : public testing::Test {
protected:
    SrLockTest() { std::filesystem::create_directory(root_ / "sr"); }
    SrLock lock(const std::string& verb = "run", const std::string& run = "run") const {
        return SrLock{root_ / "sr", root_ / run, "key", uuid, verb, root_ / "sm", root_ / "ipc"};
    }
    std::string refusal(const std::string& run = "run") const {
        try {
            lock("collect", run);
        } catch (const Busy& busy) {
            return busy.what();
        }
        return "";
    }
    /// Another process that does `act` and then waits.
    template <class Act>
    int elsewhere(Act act) {
        int ends[2];
        if (::pipe(ends) != 0) throw std::runtime_error{"pipe"};
        const pid_t child = ::fork();
        if (child == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            act();
            if (::write(ends[1], "x", 1) != 1) ::_exit(1);
            for (;;)
                ::pause();
        }
        char ready = 0;
        if (::read(ends[0], &ready, 1) != 1) throw std::runtime_error{"child"};
        ::close(ends[0]);
        ::close(ends[1]);
        return child;
    }
    static void end(int child) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
    }

    const test::TemporaryDirectory directory_;
    const std::filesystem::path& root_ = directory_.path();
};

TEST_F(SrLockTest, TellsTheSecondWhoWorks) {
    {
        const SrLock first = lock("run");
        EXPECT_THAT(refusal(), AllOf(HasSubstr("coppice run"), HasSubstr("pid " + std::to_string(::getpid()))));
        EXPECT_EQ(std::filesystem::status(root_ / "run").permissions(), std::filesystem::perms::owner_all);
    }
    EXPECT_EQ(refusal(), "") << "given back";
}

TEST_F(SrLockTest, IsGivenBackWhenItsHolderIsKilled) {
    const int child = elsewhere([&] { new SrLock{lock("coalesce")}; });
    EXPECT_THAT(refusal(), AllOf(HasSubstr("coppice coalesce"), HasSubstr(std::to_string(child))));
    end(child);
    EXPECT_EQ(refusal(), "");
}

TEST_F(SrLockTest, SeesACoppiceWithAnotherRunDirectory) {
    const SrLock first = lock("run", "elsewhere");
    EXPECT_THAT(refusal(), HasSubstr("pid " + std::to_string(::getpid())));
}

TEST_F(SrLockTest, GivesWayToTheCollectorOfSm) {
    std::filesystem::create_directories(root_ / "sm" / uuid);
    const int child = elsewhere([&] {
        const int fd = ::open((root_ / "sm" / uuid / "gc_active").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
        struct flock record {};
        record.l_type = F_WRLCK;
        record.l_whence = SEEK_SET;
        if (::fcntl(fd, F_SETLK, &record) != 0) ::_exit(1);
    });
    EXPECT_THAT(refusal(), AllOf(HasSubstr("sm-operation"), HasSubstr("pid " + std::to_string(child))));
    end(child);
    EXPECT_EQ(refusal(), "");
}

TEST_F(SrLockTest, KeepsTheCollectorOfSmOut) {
    std::filesystem::create_directories(root_ / "sm");
    const SrLock held = lock();
    const int fd = ::open((root_ / "sm" / uuid / "gc_active").c_str(), O_RDWR | O_CLOEXEC);
    struct flock record {};
    record.l_type = F_WRLCK;
    record.l_whence = SEEK_SET;
    EXPECT_NE(::fcntl(fd, F_SETLK, &record), 0);
    ::close(fd);
}

TEST_F(SrLockTest, HearsTheRequestToStop) {
    const SrLock held = lock();
    EXPECT_FALSE(held.abort_requested());
    std::filesystem::create_directories(root_ / "ipc" / uuid);
    std::ofstream{root_ / "ipc" / uuid / "abort"} << "1\n";
    EXPECT_TRUE(held.abort_requested());
}

TEST_F(SrLockTest, LeavesNothingOfSmWhereThereIsNoSm) {
    const SrLock held = lock();
    EXPECT_FALSE(std::filesystem::exists(root_ / "sm"));
}

} // namespace
} // namespace coppice
