#include "gc/service/progress.h"

#include <gtest/gtest.h>

#include <sstream>

namespace coppice {
namespace {

using namespace std::chrono_literals;
using testing::Test;

class ProgressTest : public Test {
protected:
    ProgressDisplay display(ProgressDisplay::Style style) {
        return ProgressDisplay{out, style, [this] { return now; }};
    }
    static Step step() {
        Step result;
        result.kind = StepKind::coalesce;
        result.vdi = "child";
        result.into = "parent";
        result.copy_bytes = 100_MiB;
        return result;
    }
    std::string taken() {
        std::string text = out.str();
        out.str("");
        return text;
    }

    std::ostringstream out;
    std::chrono::steady_clock::time_point now{};
};

TEST_F(ProgressTest, TellsStepsInLinesWhereThereIsNoTerminal) {
    auto progress = display(ProgressDisplay::Style::lines);
    progress.began(step(), 1, 3);
    EXPECT_EQ(taken(), "step 2 of 3: coalesce child down into parent\n");
    now += 5s;
    progress.advanced(20_MiB, 100_MiB);
    EXPECT_EQ(taken(), "");
    StepResult result;
    result.step = step();
    result.seconds = 10;
    result.copied = 100_MiB;
    progress.ended(result);
    EXPECT_EQ(taken(), "step 2 of 3: done: coalesce child down into parent, 100 MiB copied in 0:10\n");
}

TEST_F(ProgressTest, RenewsLinesSeldom) {
    auto progress = display(ProgressDisplay::Style::lines);
    progress.began(step(), 0, 1);
    taken();
    int lines = 0;
    for (std::uint64_t done = 1; done <= 100; ++done) {
        now += 1s;
        progress.advanced(1_MiB * done, 100_MiB);
        lines += taken().empty() ? 0 : 1;
    }
    EXPECT_EQ(lines, 10);
}

TEST_F(ProgressTest, ForecastsFromTheRate) {
    auto progress = display(ProgressDisplay::Style::lines);
    progress.began(step(), 0, 1);
    taken();
    progress.advanced(0_B, 100_MiB);
    now += 10s;
    progress.advanced(50_MiB, 100_MiB);
    EXPECT_EQ(taken(), "step 1 of 1: 50% 50 MiB of 100 MiB, 5 MiB/s, 0:10 left\n");
}

TEST_F(ProgressTest, DoesNotCountWhatAnEarlierRunHasDone) {
    auto progress = display(ProgressDisplay::Style::lines);
    progress.began(step(), 0, 1);
    taken();
    progress.advanced(50_MiB, 100_MiB);
    now += 10s;
    progress.advanced(60_MiB, 100_MiB);
    EXPECT_EQ(taken(), "step 1 of 1: 60% 60 MiB of 100 MiB, 1 MiB/s, 0:40 left\n");
}

TEST_F(ProgressTest, TakesTheBarAway) {
    {
        auto progress = display(ProgressDisplay::Style::bar);
        progress.began(step(), 0, 1);
        now += 1s;
        progress.advanced(50_MiB, 100_MiB);
        EXPECT_NE(taken().find("[############............] 50% 50 MiB of 100 MiB"), std::string::npos);
    }
    EXPECT_EQ(taken(), "\r\x1b[K");
}

TEST_F(ProgressTest, NamesNoControlCharacters) {
    auto progress = display(ProgressDisplay::Style::lines);
    Step hostile = step();
    hostile.vdi = "a\x1b[2J";
    progress.began(hostile, 0, 1);
    EXPECT_EQ(taken().find('\x1b'), std::string::npos);
}

} // namespace
} // namespace coppice
