#include "gc/base/wall_time.h"

#include "format/base/passing_time.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <stdexcept>

namespace coppice {
namespace {

struct Unit {
    char letter;
    UnixSeconds seconds;
};
constexpr std::array units{Unit{'s', 1}, Unit{'m', 60}, Unit{'h', 3600}, Unit{'d', 86400}, Unit{'w', 7 * 86400}};
constexpr UnixSeconds longest = UnixSeconds{36500} * 86400;

std::invalid_argument unreadable_time(const std::string& text) {
    return std::invalid_argument{"'" + text + "' is no time such as 2026-01-31T12:00:00Z or 2026-01-31"};
}

/// "Z", "" or "+HH:MM" as seconds east of UTC.
UnixSeconds offset_of(const char* rest, const std::string& text) {
    if (*rest == '\0' || std::string_view{rest} == "Z") return 0;
    char sign = 0;
    unsigned hours = 0;
    unsigned minutes = 0;
    int used = 0;
    if (std::sscanf(rest, "%c%2u:%2u%n", &sign, &hours, &minutes, &used) != 3 || rest[used] != '\0' || hours > 23 ||
        minutes > 59 || (sign != '+' && sign != '-'))
        throw unreadable_time(text);
    const UnixSeconds east = UnixSeconds{hours} * 3600 + UnixSeconds{minutes} * 60;
    return sign == '+' ? east : -east;
}

} // namespace

WallTime host_time() {
    const std::time_t now = unix_time();
    std::tm local{};
    ::localtime_r(&now, &local);
    return {now, static_cast<unsigned>(local.tm_hour * 60 + local.tm_min)};
}

std::string to_rfc3339(UnixSeconds time) {
    const std::time_t seconds = time;
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text.data();
}

UnixSeconds parse_time(const std::string& text) {
    std::tm utc{};
    const char* rest = ::strptime(text.c_str(), "%Y-%m-%d", &utc);
    if (rest == nullptr) throw unreadable_time(text);
    if (*rest == 'T' || *rest == ' ') {
        rest = ::strptime(rest + 1, "%H:%M:%S", &utc);
        if (rest == nullptr) throw unreadable_time(text);
    } else if (*rest != '\0') {
        throw unreadable_time(text);
    }
    return ::timegm(&utc) - offset_of(rest, text);
}

UnixSeconds parse_duration(const std::string& text) {
    const auto wrong = [&text] {
        return std::invalid_argument{"'" + text + "' is no duration such as 90s, 15m, 2h, 3d or 1w"};
    };
    std::size_t used = 0;
    if (text.empty() || text.front() < '0' || text.front() > '9') throw wrong();
    unsigned long long number = 0;
    try {
        number = std::stoull(text, &used);
    } catch (const std::out_of_range&) {
        throw wrong();
    }
    UnixSeconds scale = 1;
    if (used + 1 == text.size()) {
        scale = 0;
        for (const Unit& unit : units)
            if (unit.letter == text[used]) scale = unit.seconds;
    } else if (used != text.size()) {
        scale = 0;
    }
    if (scale == 0 || number > static_cast<unsigned long long>(longest / scale)) throw wrong();
    return static_cast<UnixSeconds>(number) * scale;
}

std::string duration_text(UnixSeconds seconds) {
    const auto two = [](UnixSeconds large, const char* large_unit, UnixSeconds small, const char* small_unit) {
        std::string result = std::to_string(large) + " " + large_unit;
        if (small != 0) result += " " + std::to_string(small) + " " + small_unit;
        return result;
    };
    if (seconds < 60) return std::to_string(seconds) + " s";
    if (seconds < 3600) return two(seconds / 60, "min", seconds % 60, "s");
    if (seconds < 86400) return two(seconds / 3600, "h", seconds % 3600 / 60, "min");
    return two(seconds / 86400, "d", seconds % 86400 / 3600, "h");
}

} // namespace coppice
