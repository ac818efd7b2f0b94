// The time of the host in the forms that schedules and people need. Passed around as a function, so that a test has any
// time it likes.
#pragma once

#include "coalesce/schedule.h"

#include <functional>
#include <string>

namespace coppice {

using WallClock = std::function<WallTime()>;

WallTime host_time();

/// RFC 3339 in UTC: 2026-01-31T12:00:00Z.
std::string to_rfc3339(UnixSeconds time);
/// As to_rfc3339 writes it, with any offset, or a date alone (its first second in UTC); throws std::invalid_argument.
UnixSeconds parse_time(const std::string& text);
/// "90s", "15m", "2h", "3d", "1w" or a number of seconds; throws std::invalid_argument. At most some 100 years.
UnixSeconds parse_duration(const std::string& text);
/// "2 days", "3 h 20 min", "45 s".
std::string duration_text(UnixSeconds seconds);

} // namespace coppice
