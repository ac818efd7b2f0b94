#include "format/base/crash_point.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace coppice {
namespace {

/// How many of `changes` a process of its own had made at each of its stops. The environment is read once: there.
std::vector<int> stops_of(const char* gaps, int changes) {
    void* const shared = ::mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return {-1};
    int* const made = new (shared) int{0};
    const pid_t child = ::fork();
    if (child == 0) {
        ::setenv("COPPICE_TEST_STOP_AFTER_CHANGES", gaps, 1);
        for (; *made < changes; ++*made)
            about_to_change();
        ::_exit(0);
    }
    std::vector<int> stops;
    int status = 0;
    while (::waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status)) {
        stops.push_back(*made);
        ::kill(child, SIGCONT);
    }
    EXPECT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(*made, changes);
    ::munmap(shared, sizeof(int));
    return stops;
}

TEST(CrashPoint, StopsWhereATestMayAskForIt) {
    using Stops = std::vector<int>;
#ifdef COPPICE_FAULTS
    EXPECT_EQ(stops_of("0", 3), Stops({0}));
    EXPECT_EQ(stops_of("2", 5), Stops({2}));
    EXPECT_EQ(stops_of("2,1,3", 9), Stops({2, 3, 6}));
    EXPECT_EQ(stops_of("2,5", 4), Stops({2}));
    EXPECT_EQ(stops_of("-1", 4), Stops());
#endif
    EXPECT_EQ(stops_of("", 4), Stops());
}

} // namespace
} // namespace coppice
