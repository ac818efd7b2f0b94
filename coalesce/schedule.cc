#include "coalesce/schedule.h"

#include "coalesce/schedule_danger.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <stdexcept>

namespace coppice {
namespace {

constexpr unsigned minutes_of_day = 24 * 60;
constexpr UnixSeconds last_second = 253402300799; // of the year 9999

unsigned two_digits(std::string_view text, std::size_t at) {
    const auto digit = [&](std::size_t place) { return static_cast<unsigned>(text[place] - '0'); };
    if (digit(at) > 9 || digit(at + 1) > 9)
        throw std::invalid_argument{"window \"" + std::string{text} + "\": not of the form HH:MM-HH:MM"};
    return digit(at) * 10 + digit(at + 1);
}

unsigned minute_at(std::string_view text, std::size_t at) {
    const unsigned hour = two_digits(text, at);
    const unsigned minute = two_digits(text, at + 3);
    if (hour > 23 || minute > 59)
        throw std::invalid_argument{"window \"" + std::string{text} + "\": " + std::string{text.substr(at, 5)} +
                                    " is no time of day; 00:00 to 23:59 are"};
    return hour * 60 + minute;
}

std::string clock_text(unsigned minute) {
    const auto two = [](unsigned number) { return (number < 10 ? "0" : "") + std::to_string(number); };
    return two(minute / 60) + ":" + two(minute % 60);
}

/// Why steps wait, and whether danger overrides it.
struct Closed {
    std::string reason;
    std::string text;
    bool absolute = false;
    std::optional<UnixSeconds> ends;
};

std::string pause_text(const Pause& pause) {
    std::string text = "the SR is paused";
    if (!pause.owner.empty()) text += " by " + pause.owner;
    text += pause.until ? " until " + rfc3339(*pause.until) : std::string{" until somebody resumes it"};
    if (!pause.reason.empty()) text += ": " + pause.reason;
    return text;
}

std::optional<Closed> why_closed(const Schedule& schedule, const WallTime& time) {
    if (schedule.pause && (!schedule.pause->until || *schedule.pause->until > time.now))
        return Closed{"paused", pause_text(*schedule.pause), !schedule.pause->until_danger, schedule.pause->until};
    if (!schedule.window || schedule.window->contains(time.minute_of_day)) return std::nullopt;
    const unsigned minutes =
        (schedule.window->begin_minute + minutes_of_day - time.minute_of_day) % minutes_of_day; // not 0: it is outside
    return Closed{"outside-window",
                  "work begins between " + clock_text(schedule.window->begin_minute) + " and " +
                      clock_text(schedule.window->end_minute) + " only",
                  false, time.now - time.now % 60 + UnixSeconds{minutes} * 60};
}

/// The plan with the steps that `goes_on` names; the VDIs of the others are skipped.
Plan divided(const Plan& plan, const std::vector<bool>& goes_on, const Closed& closed) {
    Plan result;
    std::map<std::string, Skipped> skipped;
    for (const Skipped& entry : plan.skipped)
        skipped.emplace(entry.vdi, entry);
    std::set<std::string> named;
    const auto wait = [&](const std::string& vdi) {
        if (!named.contains(vdi)) skipped.emplace(vdi, Skipped{vdi, closed.reason, closed.text});
    };
    for (std::size_t at = 0; at < plan.steps.size(); ++at) {
        if (!goes_on[at]) continue;
        const Step& step = plan.steps[at];
        result.steps.push_back(step);
        named.insert(step.emptied.begin(), step.emptied.end());
        if (step.into) named.insert(*step.into);
    }
    for (std::size_t at = 0; at < plan.steps.size(); ++at) {
        if (goes_on[at]) continue;
        for (const std::string& vdi : plan.steps[at].emptied)
            wait(vdi);
        if (plan.steps[at].into) wait(*plan.steps[at].into);
    }
    for (auto& [vdi, entry] : skipped)
        result.skipped.push_back(std::move(entry));
    return result;
}

} // namespace

std::string rfc3339(UnixSeconds time) {
    if (time > last_second) return "never";
    const std::time_t seconds{time};
    std::tm utc{};
    std::array<char, 32> text{};
    if (::gmtime_r(&seconds, &utc) == nullptr) return "never";
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text.data();
}

Window Window::parse(std::string_view text) {
    if (text.size() != 11 || text[2] != ':' || text[5] != '-' || text[8] != ':')
        throw std::invalid_argument{"window \"" + std::string{text} + "\": not of the form HH:MM-HH:MM"};
    return {minute_at(text, 0), minute_at(text, 6)};
}

bool Window::contains(unsigned minute_of_day) const {
    if (begin_minute == end_minute) return true;
    if (begin_minute < end_minute) return begin_minute <= minute_of_day && minute_of_day < end_minute;
    return minute_of_day >= begin_minute || minute_of_day < end_minute;
}

std::string Window::to_text() const {
    return clock_text(begin_minute) + "-" + clock_text(end_minute);
}

Admission admit(const Plan& plan, const SrTree& tree, Bytes free, const Schedule& schedule, const WallTime& time) {
    const auto closed = why_closed(schedule, time);
    if (!closed) return {plan, {}, std::nullopt};
    if (closed->absolute)
        return {divided(plan, std::vector<bool>(plan.steps.size(), false), *closed), {}, closed->ends};
    Urgent urgent = find_urgent(plan, tree, free, schedule.danger.chain_depth);
    return {divided(plan, urgent.steps, *closed), std::move(urgent.dangers), closed->ends};
}

} // namespace coppice
