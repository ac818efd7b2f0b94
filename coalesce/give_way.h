// Ends the data part of a merge as soon as somebody else wants its images, or the run shall stop.
//
// A thread looks five times a second, so that also a merge that waits (for its rate limit, for a slow disk) ends within
// a second; check() looks at once.
#pragma once

#include "coalesce/sr_gate.h"

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

namespace coppice {

class GiveWay {
public:
    /// `outer` is the stop of the run. `guard` may be null.
    GiveWay(std::stop_token outer, const SrGate::Announcement& announcement, const LeafGuard* guard);
    ~GiveWay();
    GiveWay(const GiveWay&) = delete;
    GiveWay& operator=(const GiveWay&) = delete;

    /// Stopped for either reason.
    std::stop_token token() const { return source_.get_token(); }
    /// Throws StopRequested for either reason.
    void check();
    /// The reason was somebody who wants the images, not the run's stop.
    bool is_for_somebody() const { return wanted_; }

private:
    void look();

    const SrGate::Announcement& announcement_;
    const LeafGuard* guard_;
    std::stop_source source_;
    std::atomic<bool> wanted_{false};
    std::stop_callback<std::function<void()>> passed_on_;
    std::jthread watcher_; ///< last: it uses all others
};

} // namespace coppice
