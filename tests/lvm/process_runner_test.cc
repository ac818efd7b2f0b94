// The runner against real programs.
#include "format/base/unique_fd.h"
#include "lvm/error.h"
#include "lvm/process_runner.h"
#include "tests/support/temporary_directory.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace coppice::lvm {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

Command command(std::vector<std::string> words) {
    return {.arguments = std::move(words), .limit = 60s};
}

Command python(const std::string& program) {
    return command({"/usr/bin/python3", "-c", program});
}

TEST(ProcessRunner, KeepsStreamsAndReportApart) {
    Command writer =
        python("import os\n"
               "for n in range(20000): os.write(1, b'out\\n'); os.write(2, b'err\\n'); os.write(3, b'rep\\n')\n"
               "os._exit(7)");
    writer.has_report = true;
    const CommandResult result = ProcessRunner{}.run(writer);
    EXPECT_EQ(result.status, 7);
    EXPECT_EQ(result.output.size(), 80'000);
    EXPECT_EQ(result.errors.size(), 80'000);
    EXPECT_EQ(result.report.substr(0, 8), "rep\nrep\n");
    EXPECT_FALSE(result.cut);
}

TEST(ProcessRunner, GivesItsEnvironmentAndNothingElse) {
    ::setenv("COPPICE_STRAY", "1", 1);
    Command print = command({"/usr/bin/env"});
    print.environment = {"LC_ALL=C", "A=b c"};
    EXPECT_EQ(ProcessRunner{}.run(print).output, "LC_ALL=C\nA=b c\n");
}

TEST(ProcessRunner, GivesNoDescriptorsAndAnEmptyInput) {
    const UniqueFd stray{::open("/dev/null", O_RDONLY)}; // NOLINT(android-cloexec-open): that is the point
    const CommandResult result = ProcessRunner{}.run(
        python("import os, sys; print(sys.stdin.read() == '', sorted(os.listdir('/proc/self/fd'))[:-1])"));
    EXPECT_EQ(result.output, "True ['0', '1', '2']\n");
}

TEST(ProcessRunner, StartsWithoutBlockedOrIgnoredSignals) {
    sigset_t blocked, before;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    const CommandResult result =
        ProcessRunner{}.run(python("import os, signal; os.kill(os.getpid(), signal.SIGTERM); signal.pause()"));
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    EXPECT_EQ(result.status, 128 + SIGTERM);
}

TEST(ProcessRunner, NamesAProgramThatCannotBeStarted) {
    try {
        ProcessRunner{}.run(command({"/absent/lvs"}));
        FAIL();
    } catch (const SystemError& error) {
        EXPECT_THAT(error.what(), HasSubstr("start: /absent/lvs: No such file"));
    }
}

TEST(ProcessRunner, KillsWhatReadsForTooLong) {
    Command endless = command({"/usr/bin/tail", "-f", "/dev/null"});
    endless.limit = 50ms;
    try {
        ProcessRunner{}.run(endless);
        FAIL();
    } catch (const CommandTimedOut& error) {
        EXPECT_THAT(error.what(), HasSubstr("run tail: /usr/bin/tail -f /dev/null: no end after 50 ms"));
    }
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process was left";
}

TEST(ProcessRunner, WaitsForWhatChangesHoweverLongItTakes) {
    coppice::test::TemporaryDirectory directory;
    Command slow = python("import time; time.sleep(0.3); open('" + directory / "done" + "', 'w')");
    slow.kind = Command::Kind::changes;
    slow.limit = 10ms;
    EXPECT_EQ(ProcessRunner{}.run(slow).status, 0);
    EXPECT_TRUE(std::filesystem::exists(directory / "done"));
}

TEST(ProcessRunner, DoesNotWaitForADaemonThatHoldsTheOutputs) {
    const CommandResult result = ProcessRunner{}.run(
        python("import subprocess; print(subprocess.Popen(['/usr/bin/tail', '-f', '/dev/null']).pid)"));
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(::kill(std::stoi(result.output), SIGKILL), 0);
}

TEST(ProcessRunner, DropsWhatIsTooMuch) {
    const CommandResult result = ProcessRunner{1000}.run(python("print('a' * 100000)"));
    EXPECT_EQ(result.output, std::string(1000, 'a'));
    EXPECT_TRUE(result.cut);
}

TEST(TellingLine, IsTheLastOneThatIsNoWarning) {
    EXPECT_EQ(telling_line({.errors = "  WARNING: not backed up\n  LV in use.\n\n  WARNING: more\n"}), "LV in use.");
    EXPECT_EQ(telling_line({.errors = "  WARNING: only\x1b[1m\n"}), "WARNING: only?[1m");
    EXPECT_EQ(telling_line({}), "");
}

} // namespace
} // namespace coppice::lvm
