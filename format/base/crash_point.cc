#include "format/base/crash_point.h"

#ifdef COPPICE_FAULTS

#include <atomic>
#include <csignal>
#include <cstdlib>

namespace coppice {
namespace {

long changes_allowed() {
    const char* const text = std::getenv("COPPICE_TEST_KILL_AFTER_CHANGES");
    return text == nullptr ? -1 : std::atol(text);
}

} // namespace

void about_to_change() {
    static const long allowed = changes_allowed();
    static std::atomic<long> made{0};
    if (allowed >= 0 && made.fetch_add(1) >= allowed) std::raise(SIGKILL);
}

} // namespace coppice

#endif
