#include "coalesce/give_way.h"

#include "format/base/error.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace coppice {
namespace {

constexpr std::chrono::milliseconds interval{200};

} // namespace

GiveWay::GiveWay(std::stop_token outer, const SrGate::Announcement& announcement, const LeafGuard* guard)
    : announcement_{announcement}, guard_{guard},
      passed_on_{std::move(outer), [this] { source_.request_stop(); }}, watcher_{[this](const std::stop_token& end) {
          std::mutex mutex;
          std::condition_variable_any wake;
          std::unique_lock held{mutex};
          while (!wake.wait_for(held, end, interval, [] { return false; }) && !end.stop_requested())
              look();
      }} {}

GiveWay::~GiveWay() = default;

void GiveWay::look() {
    if (source_.stop_requested()) return;
    if (!announcement_.stop_wanted() && (guard_ == nullptr || !guard_->is_wanted())) return;
    wanted_ = true;
    source_.request_stop();
}

void GiveWay::check() {
    look();
    if (source_.stop_requested()) throw StopRequested{};
}

} // namespace coppice
