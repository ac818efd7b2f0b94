// Bit maps of a VHD, most significant bit first: one bit per sector of a block, or (batmap) one per block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace coppice::vhd {

inline bool test_bit(std::span<const std::byte> bits, std::uint64_t index) {
    return (bits[index / 8] & static_cast<std::byte>(0x80U >> (index % 8))) != std::byte{0};
}
inline void set_bit(std::span<std::byte> bits, std::uint64_t index) {
    bits[index / 8] |= static_cast<std::byte>(0x80U >> (index % 8));
}
inline void clear_bit(std::span<std::byte> bits, std::uint64_t index) {
    bits[index / 8] &= ~static_cast<std::byte>(0x80U >> (index % 8));
}
inline void set_bits(std::span<std::byte> bits, std::uint64_t begin, std::uint64_t end) {
    for (; begin < end && begin % 8 != 0; ++begin)
        set_bit(bits, begin);
    for (; begin + 8 <= end; begin += 8)
        bits[begin / 8] = std::byte{0xFF};
    for (; begin < end; ++begin)
        set_bit(bits, begin);
}

/// The first index in [begin, end) whose bit is `value`; `end` when there is none.
inline std::uint64_t find_bit(std::span<const std::byte> bits, std::uint64_t begin, std::uint64_t end, bool value) {
    const std::byte skipped{value ? std::uint8_t{0x00} : std::uint8_t{0xFF}};
    while (begin < end) {
        if (begin % 8 == 0 && bits[begin / 8] == skipped) {
            begin += 8;
            continue;
        }
        if (test_bit(bits, begin) == value) return begin;
        ++begin;
    }
    return end;
}

/// Calls `visit(begin, end)` for every maximal run of bits equal to `value` in [begin, end).
template <class Visitor>
void for_each_run(std::span<const std::byte> bits, std::uint64_t begin, std::uint64_t end, bool value, Visitor visit) {
    while (true) {
        begin = find_bit(bits, begin, end, value);
        if (begin >= end) return;
        const std::uint64_t stop = find_bit(bits, begin, end, !value);
        visit(begin, stop);
        begin = stop;
    }
}

/// Whether the first `count` bits are all set.
inline bool all_set(std::span<const std::byte> bits, std::uint64_t count) {
    return find_bit(bits, 0, count, false) == count;
}

} // namespace coppice::vhd
