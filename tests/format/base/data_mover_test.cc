#include "format/base/data_mover.h"
#include "tests/support/memory_device.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

std::vector<std::byte> pattern(std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>(i * 7 + i / 256 + 1);
    return bytes;
}

TEST(BufferedMover, CopiesAcrossBufferBoundaries) {
    const auto bytes = pattern(100'000);
    const auto source = test::memory_device(bytes);
    const auto target = test::memory_device({}, "target");
    BufferedMover mover{BufferedMover::Sharing::never, 4_KiB};
    const Transfer transfer = Transfer::from_device(*source, 512_B, 1024_B, 99'000_B);
    mover.move(*target, {&transfer, 1});
    EXPECT_EQ(target->read_at(1024_B, 99'000_B), (std::vector<std::byte>{bytes.begin() + 512, bytes.begin() + 99'512}));
    EXPECT_EQ(mover.moved().copied, 99'000_B);
}

TEST(BufferedMover, WhatLiesBehindTheSourceIsZeros) {
    const auto source = test::memory_device(pattern(1000));
    const auto target = test::memory_device(pattern(8192), "target");
    BufferedMover mover{BufferedMover::Sharing::never};
    const Transfer transfer = Transfer::from_device(*source, 512_B, 0_B, 4_KiB);
    mover.move(*target, {&transfer, 1});
    EXPECT_EQ(target->read_at(0_B, 488_B), source->read_at(512_B, 488_B));
    EXPECT_TRUE(all_zero(target->read_at(488_B, 4096_B - 488_B)));
    EXPECT_FALSE(all_zero(target->read_at(4_KiB, 512_B)));
}

TEST(BufferedMover, HolesOfTheSourceOverwriteOldContent) {
    auto bytes = pattern(16'384);
    std::fill(bytes.begin() + 4096, bytes.begin() + 12'288, std::byte{0});
    const auto source = test::memory_device(bytes);
    const auto target = test::memory_device(pattern(16'384), "target");
    BufferedMover mover{BufferedMover::Sharing::never};
    const Transfer transfer = Transfer::from_device(*source, 0_B, 0_B, 16_KiB);
    mover.move(*target, {&transfer, 1});
    EXPECT_EQ(target->read_at(0_B, 16_KiB), bytes);
    EXPECT_EQ(mover.moved().copied, 8_KiB);
}

} // namespace
} // namespace coppice
