#include "gc/sm/sm_gate.h"

#include "format/base/error.h"
#include "format/base/log.h"
#include "gc/sm/sm_flags.h"

#include <algorithm>
#include <condition_variable>
#include <vector>

namespace coppice {

using Clock = std::chrono::steady_clock;

SmLock take_patiently(const SmLocks& locks, const std::string& space, const std::string& name,
                      const SmGate::Patience& patience, const std::stop_token& stop,
                      const std::function<void()>& meanwhile) {
    const auto began = Clock::now();
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock held{mutex};
    bool told = false;
    for (auto pause = patience.first;; pause = std::min(pause * 2, patience.longest)) {
        if (stop.stop_requested()) throw StopRequested{};
        if (auto lock = locks.try_take(space, name)) return std::move(*lock);
        if (meanwhile) meanwhile();
        if (Clock::now() - began >= patience.whole)
            throw Busy{space, "sm-operation: the lock " + name + " is held by " + locks.holder(space, name)};
        if (pause == patience.longest && !std::exchange(told, true))
            log::notice("gc", "waiting for sm sr=" + space + " lock=" + name + " holder=" + locks.holder(space, name));
        wake.wait_for(held, stop, pause, [] { return false; });
    }
}

class SmGate::HeldSr final : public Passage {
public:
    HeldSr(SmGate& gate, SmLock sr) : gate_{gate}, sr_{std::move(sr)} {}
    ~HeldSr() override {
        leaves_.clear();
        sr_.reset();
        gate_.record(Clock::now() - since_);
    }

    void take(const std::string& leaf) { leaves_.push_back(gate_.take_leaf(leaf)); }

private:
    SmGate& gate_;
    Clock::time_point since_ = Clock::now();
    std::optional<SmLock> sr_;
    std::vector<SmLock> leaves_;
};

class SmGate::HeldLeaf final : public LeafGuard {
public:
    HeldLeaf(SmGate& gate, const std::string& leaf) : gate_{gate}, name_{leaf}, lock_{gate.take_leaf(leaf)} {
        gate_.guarded_.emplace(name_, this);
    }
    ~HeldLeaf() override { gate_.guarded_.erase(name_); }

    bool is_wanted() const override { return lock_.is_wanted(); }

private:
    SmGate& gate_;
    std::string name_;
    SmLock lock_;
};

SmGate::SmGate(const SmLocks& locks, const std::string& run_files, std::string sr_uuid, Patience patience)
    : locks_{locks}, run_files_{run_files + "/" + sr_uuid}, sr_{std::move(sr_uuid)}, patience_{patience} {
    remove_running_files(run_files_);
}

/// Somebody may have emptied, and so made anew, a run file in the moment in which its merge ended.
SmGate::~SmGate() {
    remove_running_files(run_files_);
    const auto ms = [](std::chrono::nanoseconds time) {
        return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
    };
    if (times_.count != 0)
        log::info("gc", "kept others from the SR times=" + std::to_string(times_.count) +
                            " total_ms=" + ms(times_.total) + " longest_ms=" + ms(times_.longest));
}

std::unique_ptr<Passage> SmGate::enter(const std::set<std::string>& leaves, const std::stop_token& stop) {
    auto passage = std::make_unique<HeldSr>(*this, take_sr(stop));
    for (const std::string& leaf : leaves)
        if (!guarded_.contains(leaf)) passage->take(leaf);
    return passage;
}

std::unique_ptr<LeafGuard> SmGate::guard(const std::string& leaf) {
    return std::make_unique<HeldLeaf>(*this, leaf);
}

std::unique_ptr<SrGate::Announcement> SmGate::announce(const std::string& vdi) {
    remove_running_files(run_files_);
    return std::make_unique<RunningFile>(run_files_, vdi);
}

HoldTimes SmGate::times() const {
    const std::lock_guard lock{mutex_};
    return times_;
}

SmLock SmGate::take_sr(const std::stop_token& stop) const {
    return take_patiently(locks_, sr_, "sr", patience_, stop, [this] { require_unwanted(); });
}

SmLock SmGate::take_leaf(const std::string& leaf) const {
    if (auto lock = locks_.try_take(leaf, "vdi")) return std::move(*lock);
    throw Busy{leaf, "sm-operation: it is being attached, detached or paused by " + locks_.holder(leaf, "vdi")};
}

void SmGate::require_unwanted() const {
    for (const auto& [leaf, held] : guarded_)
        if (held->is_wanted()) throw Busy{leaf, "sm-operation: sm waits for it"};
}

void SmGate::record(std::chrono::nanoseconds held) {
    const std::lock_guard lock{mutex_};
    ++times_.count;
    times_.total += held;
    times_.longest = std::max(times_.longest, held);
}

} // namespace coppice
