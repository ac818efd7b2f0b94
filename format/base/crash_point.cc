#include "format/base/crash_point.h"

#ifdef COPPICE_FAULTS

#include <atomic>
#include <csignal>
#include <cstdlib>

namespace coppice {
namespace {

/// How many changes `variable` allows; -1 without it.
long changes_allowed(const char* variable) {
    const char* const text = std::getenv(variable);
    return text == nullptr ? -1 : std::atol(text);
}

} // namespace

void about_to_change() {
    static const long before_kill = changes_allowed("COPPICE_TEST_KILL_AFTER_CHANGES");
    static const long before_stop = changes_allowed("COPPICE_TEST_STOP_AFTER_CHANGES");
    static std::atomic<long> counter{0};
    const long made = counter.fetch_add(1);
    if (before_kill >= 0 && made >= before_kill) std::raise(SIGKILL);
    if (made == before_stop) std::raise(SIGSTOP);
}

} // namespace coppice

#endif
