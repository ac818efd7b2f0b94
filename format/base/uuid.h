// A UUID as it stands on disk (RFC 4122 byte order) and as text.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace coppice {

struct Uuid {
    std::array<std::byte, 16> bytes{};

    auto operator<=>(const Uuid&) const = default;
    bool is_null() const { return *this == Uuid{}; }
    /// Lower case, 8-4-4-4-12.
    std::string text() const;

    /// Exactly 8-4-4-4-12 hexadecimal digits of either case, nothing around them; nullopt otherwise.
    static std::optional<Uuid> parse(std::string_view text);
    static Uuid random();
};

/// Whether `text` has the form of a UUID.
bool is_uuid(std::string_view text);

} // namespace coppice
