#include "gc/service/status_board.h"

namespace coppice {

std::string_view to_string(ServiceState state) {
    switch (state) {
    case ServiceState::idle:
        return "idle";
    case ServiceState::working:
        return "working";
    case ServiceState::paused:
        return "paused";
    case ServiceState::standby:
        return "standby";
    case ServiceState::waiting:
        return "waiting";
    }
    return "";
}

std::uint64_t RunningStep::rate() const {
    if (seconds <= 0 || done <= base) return 0;
    return static_cast<std::uint64_t>(static_cast<double>((done - base).count()) / seconds);
}

std::optional<UnixSeconds> RunningStep::eta_seconds() const {
    const std::uint64_t speed = rate();
    if (speed == 0 || total < done) return std::nullopt;
    return static_cast<UnixSeconds>((total - done).count() / speed);
}

ServiceStatus StatusBoard::status() const {
    const std::lock_guard held{mutex_};
    ServiceStatus result = status_;
    if (result.operation && has_base_)
        result.operation->seconds = std::chrono::duration<double>(clock_() - began_).count();
    return result;
}

void StatusBoard::change(const std::function<void(ServiceStatus&)>& edit) {
    const std::lock_guard held{mutex_};
    edit(status_);
}

void StatusBoard::step_began(const Step& step, std::size_t number, std::size_t count) {
    const std::lock_guard held{mutex_};
    RunningStep running;
    running.step = step;
    running.number = number;
    running.count = count;
    running.total = step.copy_bytes;
    status_.operation = std::move(running);
    status_.state = ServiceState::working;
    status_.text.clear();
    has_base_ = false;
}

void StatusBoard::step_advanced(Bytes done, Bytes total) {
    const std::lock_guard held{mutex_};
    if (!status_.operation) return;
    RunningStep& running = *status_.operation;
    if (!has_base_) {
        has_base_ = true;
        running.base = done;
        began_ = clock_();
    }
    running.done = done;
    running.total = total;
}

void StatusBoard::step_ended() {
    const std::lock_guard held{mutex_};
    status_.operation.reset();
}

} // namespace coppice
