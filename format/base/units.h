// Quantities with units, so that bytes, sectors and block numbers cannot be mixed by accident.
//
// Every quantity is an unsigned 64-bit count. Sums, differences and products are checked: values read from an image may
// be hostile, and an offset that wrapped would point at somebody else's data. A failed check throws
// std::overflow_error.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <stdexcept>

namespace coppice {

/// A count of one kind of thing. `Tag` only tells the kinds apart.
template <class Tag>
class Quantity {
public:
    constexpr Quantity() = default;
    constexpr explicit Quantity(std::uint64_t count) : count_{count} {}

    constexpr std::uint64_t count() const { return count_; }
    constexpr auto operator<=>(const Quantity&) const = default;

    constexpr Quantity& operator+=(Quantity other) { return *this = *this + other; }
    constexpr Quantity& operator-=(Quantity other) { return *this = *this - other; }

    friend constexpr Quantity operator+(Quantity a, Quantity b) {
        std::uint64_t sum = 0;
        if (__builtin_add_overflow(a.count_, b.count_, &sum)) throw std::overflow_error{"sum exceeds 64 bits"};
        return Quantity{sum};
    }
    friend constexpr Quantity operator-(Quantity a, Quantity b) {
        if (b.count_ > a.count_) throw std::overflow_error{"difference is negative"};
        return Quantity{a.count_ - b.count_};
    }
    friend constexpr Quantity operator*(Quantity a, std::uint64_t factor) {
        std::uint64_t product = 0;
        if (__builtin_mul_overflow(a.count_, factor, &product)) throw std::overflow_error{"product exceeds 64 bits"};
        return Quantity{product};
    }
    friend constexpr Quantity operator*(std::uint64_t factor, Quantity a) { return a * factor; }
    friend constexpr Quantity operator/(Quantity a, std::uint64_t divisor) { return Quantity{a.count_ / divisor}; }
    /// How many whole `b` fit into `a`. `b` is not zero.
    friend constexpr std::uint64_t operator/(Quantity a, Quantity b) { return a.count_ / b.count_; }
    friend constexpr Quantity operator%(Quantity a, Quantity b) { return Quantity{a.count_ % b.count_}; }

private:
    std::uint64_t count_ = 0;
};

using Bytes = Quantity<struct BytesTag>;
using Sectors = Quantity<struct SectorsTag>;             ///< 512 bytes each, whatever the device's own sector size
using Extents = Quantity<struct ExtentsTag>;             ///< LVM only
using BlockNumber = Quantity<struct BlockNumberTag>;     ///< VHD only: index into the BAT
using ClusterNumber = Quantity<struct ClusterNumberTag>; ///< QCOW2 only: host offset / cluster size

inline constexpr Bytes sector_size{512};

constexpr Bytes to_bytes(Sectors sectors) {
    return sector_size * sectors.count();
}
/// Whole sectors in `bytes`; a remainder is dropped.
constexpr Sectors whole_sectors(Bytes bytes) {
    return Sectors{bytes / sector_size};
}

/// `unit` is not zero. Throws std::overflow_error where the result exceeds 64 bits.
template <class Tag>
constexpr Quantity<Tag> round_up(Quantity<Tag> value, Quantity<Tag> unit) {
    const auto rest = value % unit;
    return rest.count() == 0 ? value : value + (unit - rest);
}
template <class Tag>
constexpr Quantity<Tag> round_down(Quantity<Tag> value, Quantity<Tag> unit) {
    return value - value % unit;
}
template <class Tag>
constexpr bool is_aligned(Quantity<Tag> value, Quantity<Tag> unit) {
    return (value % unit).count() == 0;
}
/// How many `unit` are needed to hold `value`.
template <class Tag>
constexpr std::uint64_t units_needed(Quantity<Tag> value, Quantity<Tag> unit) {
    return value.count() / unit.count() + (value.count() % unit.count() != 0 ? 1 : 0);
}

inline namespace literals {
constexpr Bytes operator""_B(unsigned long long count) {
    return Bytes{count};
}
constexpr Bytes operator""_KiB(unsigned long long count) {
    return Bytes{1024} * count;
}
constexpr Bytes operator""_MiB(unsigned long long count) {
    return Bytes{1024 * 1024} * count;
}
constexpr Bytes operator""_GiB(unsigned long long count) {
    return Bytes{1024ULL * 1024 * 1024} * count;
}
constexpr Bytes operator""_TiB(unsigned long long count) {
    return Bytes{1024ULL * 1024 * 1024 * 1024} * count;
}
} // namespace literals

} // namespace coppice
