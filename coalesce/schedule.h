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

/// A daily time in which work may be done, in local time. 22:00-06:00 goes over midnight; equal ends mean always.
struct Window {
    unsigned begin_minute = 0; ///< of the day, below 1440
    unsigned end_minute = 0;

    /// "HH:MM-HH:MM"; throws std::invalid_argument saying what is wrong.
    static Window parse(std::string_view text);
    /// `minute_of_day` below 1440.
    bool contains(unsigned minute_of_day) const;
    std::string to_text() const;
    bool operator==(const Window&) const = default;
};

struct Pause {
    std::optional<UnixSeconds> until; ///< nullopt: until somebody resumes
    bool until_danger = false;        ///< ends for a tree that crosses a danger line
    std::string owner;
    std::string reason;
    bool operator==(const Pause&) const = default;
};

/// Where work goes on although it is not the time for it.
struct DangerLines {
    std::size_t chain_depth = 24; ///< images in a chain, the leaf and the root among them (sm's limit is 30)
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
    std::optional<UnixSeconds> look_again; ///< when the answer changes by itself
};

/// `free` is what the SR has free: where the cheapest step does not fit into it any more, steps that free space go on.
Admission admit(const Plan& plan, const SrTree& tree, Bytes free, const Schedule& schedule, const WallTime& time);

} // namespace coppice
