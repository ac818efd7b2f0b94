#include "format/base/byte_range.h"
#include "format/base/units.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(Units, SumThatWrapsIsAnError) {
    EXPECT_THROW(Bytes{~0ULL} + 1_B, std::overflow_error);
}
TEST(Units, DifferenceBelowZeroIsAnError) {
    EXPECT_THROW(1_B - 2_B, std::overflow_error);
}
TEST(Units, ProductThatWrapsIsAnError) {
    EXPECT_THROW(Bytes{1ULL << 40} * (1ULL << 30), std::overflow_error);
}

TEST(Units, RoundingKeepsMultiples) {
    EXPECT_EQ(round_up(4_KiB, 4_KiB), 4_KiB);
    EXPECT_EQ(round_up(4097_B, 4_KiB), 8_KiB);
    EXPECT_EQ(round_down(4097_B, 4_KiB), 4_KiB);
    EXPECT_EQ(units_needed(4097_B, 4_KiB), 2U);
}

TEST(ByteRange, IntersectionOfStrangersIsEmpty) {
    EXPECT_TRUE(intersection({0_B, 5_B}, {7_B, 9_B}).empty());
    EXPECT_EQ(intersection({0_B, 8_B}, {7_B, 9_B}), (ByteRange{7_B, 8_B}));
}

} // namespace
} // namespace coppice
