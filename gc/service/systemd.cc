#include "gc/service/systemd.h"

#include <systemd/sd-daemon.h>

#include <ctime>

namespace coppice::systemd {
namespace {

// Whether anybody listens is not our concern, and neither is what they make of it.
void tell(const std::string& text) {
    ::sd_notify(0, text.c_str());
}

} // namespace

void ready() {
    tell("READY=1");
}

void reloading() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto microseconds = static_cast<long long>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
    tell("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(microseconds));
}

void stopping() {
    tell("STOPPING=1");
}

void status(const std::string& text) {
    std::string line = text;
    for (char& c : line)
        if (c == '\n') c = ' ';
    tell("STATUS=" + line);
}

void alive() {
    tell("WATCHDOG=1");
}

std::optional<std::chrono::microseconds> watchdog_interval() {
    std::uint64_t microseconds = 0;
    if (::sd_watchdog_enabled(0, &microseconds) <= 0 || microseconds == 0) return std::nullopt;
    return std::chrono::microseconds{microseconds};
}

} // namespace coppice::systemd
