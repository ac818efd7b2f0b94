#include "format/base/passing_time.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace coppice {
namespace {

using namespace std::chrono_literals;

// The environment is read once: the only test of its kind in this program.
TEST(PassingTime, IsFasterOnlyWhereATestMayAskForIt) {
    const std::time_t start = std::time(nullptr) - 1000;
    ASSERT_EQ(::setenv("COPPICE_TEST_TIME_FACTOR", ("600@" + std::to_string(start)).c_str(), 1), 0);
#ifdef COPPICE_FAULTS
    EXPECT_GE(unix_time(), start + std::int64_t{600} * 1000);
    EXPECT_EQ(real_wait(60s), 100ms);
    EXPECT_GE(real_wait(1ms) * 600, 1ms) << "not a moment too short";
#else
    EXPECT_LT(unix_time(), start + std::int64_t{600} * 1000);
    EXPECT_EQ(real_wait(60s), 60s);
#endif
    EXPECT_EQ(real_wait(0ms), 0ms);
}

} // namespace
} // namespace coppice
