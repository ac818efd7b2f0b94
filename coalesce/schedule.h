// Which steps of a plan may begin at a given time. Pure: time is passed in.
#pragma once

#include "coalesce/plan.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace coppice {

/// Seconds since 1970-01-01.
using UnixSeconds = std::int64_t;

/// "2026-11-25T12:00:00Z", for people and scripts; "never" for a time behind the year 9999.
std::string rfc3339(UnixSeconds time);

/// A daily time in which work may begin, in local time. 22:00-06:00 goes over midnight; equal ends mean always.
struct Window {
    unsigned begin_minute = 0; ///< of the day, below 1440
    unsigned end_minute = 0;   ///< the first minute that is outside again

    /// "HH:MM-HH:MM", 00:00 to 23:59, always two digits; throws std::invalid_argument saying what is wrong.
    static Window parse(std::string_view text);
    /// `minute_of_day` below 1440.
    bool contains(unsigned minute_of_day) const;
    std::string to_text() const;
    bool operator==(const Window&) const = default;
};

struct Pause {
    std::optional<UnixSeconds> until; ///< nullopt: until somebody resumes. From this second on it does not count
    bool until_danger = false;        ///< does not keep from work on what crosses a danger line; otherwise absolute
    std::string owner;
    std::string reason;
    bool operator==(const Pause&) const = default;
};

/// Where work goes on although it is not the time for it.
struct DangerLines {
    /// Images in a chain, from a visible disk to its root, both counted (sm's limit is 30).
    std::size_t chain_depth = 24;
};

struct Schedule {
    std::optional<Window> window;
    std::optional<Pause> pause;
    DangerLines danger;
};

/// What time it is, in the two forms that are needed; made by the caller so that a test has any time it likes.
struct WallTime {
    UnixSeconds now = 0;
    unsigned minute_of_day = 0; ///< local time
};

struct Admission {
    Plan plan;                        ///< what may begin now; what may not is among `skipped`: paused, outside-window
    std::vector<std::string> dangers; ///< why work goes on although it is not the time, a sentence each
    /// When what waits now may begin by itself, or waits for another reason: the pause ends, the window begins.
    /// nullopt: nothing waits for a time. A change of the clock in between moves it, so that it is asked for anew then.
    std::optional<UnixSeconds> look_again;
};

/// Collections are steps like all others. When it is not the time, two kinds of steps go on, with those that they build
/// upon (whose images are next to theirs), as far as they fit into `free`, what the SR has free:
///  - those with an image in a chain that is at or above the danger line;
///  - where `free` is below what the cheapest of the steps that need space and wait would need (VDIs skipped with
///    no-space among them): steps that free space, collections first, until that one would fit.
/// O(n log n) in nodes and steps.
Admission admit(const Plan& plan, const SrTree& tree, Bytes free, const Schedule& schedule, const WallTime& time);

} // namespace coppice
