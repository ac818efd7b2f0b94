// What the service is doing, for whoever asks: written by the worker and the event loop, read at any time.
#pragma once

#include "coalesce/progress.h"
#include "coalesce/schedule.h"

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace coppice {

enum class ServiceState {
    idle,
    working,
    paused,
    standby, ///< another host works on this SR
    waiting, ///< for something that is in the way: see `text`
};

std::string_view to_string(ServiceState state);

/// The step under way.
struct RunningStep {
    Step step;
    std::size_t number = 0; ///< from 1
    std::size_t count = 0;
    Bytes done; ///< guest bytes, those of an earlier run included
    Bytes total;
    Bytes base;         ///< where this run took up the work
    double seconds = 0; ///< since then

    /// Bytes per second; 0 as long as nothing is known.
    std::uint64_t rate() const;
    std::optional<UnixSeconds> eta_seconds() const;
};

struct ServiceStatus {
    ServiceState state = ServiceState::idle;
    std::string text; ///< what it waits for; empty when there is nothing to say
    std::optional<RunningStep> operation;
    std::vector<Skipped> skipped;     ///< of the last plan
    std::vector<std::string> notices; ///< what an admin should know: danger lines, a journal set aside
    std::optional<UnixSeconds> last_cycle;
    std::optional<UnixSeconds> next_cycle;
};

class StatusBoard {
public:
    using Clock = std::function<std::chrono::steady_clock::time_point()>;
    explicit StatusBoard(Clock clock = &std::chrono::steady_clock::now) : clock_{std::move(clock)} {}

    ServiceStatus status() const;
    void change(const std::function<void(ServiceStatus&)>& edit);

    void step_began(const Step& step, std::size_t number, std::size_t count);
    void step_advanced(Bytes done, Bytes total);
    void step_ended();

private:
    Clock clock_;
    mutable std::mutex mutex_;
    ServiceStatus status_;
    std::chrono::steady_clock::time_point began_;
    bool has_base_ = false;
};

} // namespace coppice
