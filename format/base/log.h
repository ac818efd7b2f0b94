// One line per event: a sentence, then key=value. To stderr, and to the host's log where it is asked for; under systemd
// with a "<N>" level prefix and no timestamp.
//
// Boost.Log stands behind this header, and only log.cc includes it: its headers cost seconds in every file that does.
// Thread-safe.
#pragma once

#include <string_view>

namespace coppice::log {

/// Numbered as in syslog.
enum class Severity { error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

/// Lines below `least` are dropped. Call from main; before it, and in tests, only warnings and errors are written.
void start(Severity least);

/// From `least` on, lines go to the host's log as well, under the name and facility of the storage manager's collector
/// (ident SMGC, local2), so that they stand in its SMlog. Call once, behind start().
void start_host_log(Severity least);

/// `channel` is the library that speaks: "format", "journal", "coalesce", "gc".
void write(Severity severity, std::string_view channel, std::string_view line);

inline void error(std::string_view channel, std::string_view line) {
    write(Severity::error, channel, line);
}
inline void warning(std::string_view channel, std::string_view line) {
    write(Severity::warning, channel, line);
}
inline void notice(std::string_view channel, std::string_view line) {
    write(Severity::notice, channel, line);
}
inline void info(std::string_view channel, std::string_view line) {
    write(Severity::info, channel, line);
}
inline void debug(std::string_view channel, std::string_view line) {
    write(Severity::debug, channel, line);
}

} // namespace coppice::log
