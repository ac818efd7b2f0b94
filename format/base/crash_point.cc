#include "format/base/crash_point.h"

#ifdef COPPICE_FAULTS

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace coppice {
namespace {

/// How many changes are allowed until something happens, and then how many until it happens again, and so on.
std::vector<long> changes_allowed(const char* variable) {
    std::vector<long> result;
    const char* const text = std::getenv(variable);
    std::istringstream numbers{text == nullptr ? "" : text};
    for (std::string number; std::getline(numbers, number, ',');)
        result.push_back(std::atol(number.c_str()));
    return result;
}

/// Counts the changes of all threads between two stops.
class Stops {
public:
    bool is_due() {
        const std::lock_guard held{mutex_};
        if (next_ == gaps_.size() || gaps_[next_] < 0) return false;
        if (made_++ < gaps_[next_]) return false;
        made_ = 1; // the change that it is stopped before
        ++next_;
        return true;
    }

private:
    std::mutex mutex_;
    const std::vector<long> gaps_ = changes_allowed("COPPICE_TEST_STOP_AFTER_CHANGES");
    std::size_t next_ = 0;
    long made_ = 0;
};

} // namespace

void about_to_change() {
    static const std::vector<long> before_kill = changes_allowed("COPPICE_TEST_KILL_AFTER_CHANGES");
    static std::atomic<long> counter{0};
    static Stops stops;
    const long made = counter.fetch_add(1);
    if (!before_kill.empty() && before_kill.front() >= 0 && made >= before_kill.front()) std::raise(SIGKILL);
    // raise() is for this thread, but a stop is for all of them.
    if (stops.is_due()) std::raise(SIGSTOP);
}

} // namespace coppice

#endif
