// What systemd is told of the service (sd_notify(3)); nothing where it was not started by systemd.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace coppice::systemd {

void ready();
void reloading();
void stopping();
/// One line for `systemctl status`.
void status(const std::string& text);
void alive();

/// How often alive() is expected at least (WatchdogSec=); nullopt: never.
std::optional<std::chrono::microseconds> watchdog_interval();

} // namespace coppice::systemd
