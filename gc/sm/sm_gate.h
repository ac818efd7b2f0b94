// The gate of an SR that sm knows: its locks `<SR>/sr` and `<VDI>/vdi`, and its run files.
//
// Used by one thread; times() by any. The order is `sr`, then `vdi`; while leaves are guarded `sr` is asked for only as
// long as nobody waits for one of them, so that a holder of `sr` who wants such a leaf never waits for us.
#pragma once

#include "coalesce/sr_gate.h"
#include "gc/sm/sm_locks.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>

namespace coppice {

/// How long the SR was kept from others.
struct HoldTimes {
    std::uint64_t count = 0;
    std::chrono::nanoseconds total{};
    std::chrono::nanoseconds longest{};
};

class SmGate final : public SrGate {
public:
    /// For how long to ask for the SR, and with which pauses, which double from the first to the longest.
    struct Patience {
        std::chrono::milliseconds whole{std::chrono::minutes{5}};
        std::chrono::milliseconds first{2};
        std::chrono::milliseconds longest{200};
    };

    /// `locks` outlives the gate. Removes run files of merges that have ended otherwise: only for whoever holds
    /// `gc_active`.
    SmGate(const SmLocks& locks, const std::string& run_files, std::string sr_uuid, Patience patience);
    SmGate(const SmLocks& locks, const std::string& run_files, std::string sr_uuid)
        : SmGate{locks, run_files, std::move(sr_uuid), Patience{}} {}
    ~SmGate() override;

    std::unique_ptr<Passage> enter(const std::set<std::string>& leaves, const std::stop_token& stop) override;
    std::unique_ptr<LeafGuard> guard(const std::string& leaf) override;
    std::unique_ptr<Announcement> announce(const std::string& vdi) override;
    bool readers_ask_first() const override { return true; }

    HoldTimes times() const;

private:
    class HeldSr;
    class HeldLeaf;

    SmLock take_sr(const std::stop_token& stop) const;
    SmLock take_leaf(const std::string& leaf) const;
    void require_unwanted() const;
    void record(std::chrono::nanoseconds held);

    const SmLocks& locks_;
    std::string run_files_;
    std::string sr_;
    Patience patience_;
    std::map<std::string, const HeldLeaf*> guarded_;
    mutable std::mutex mutex_; ///< of times_
    HoldTimes times_;
};

/// Asks for a lock of sm until it is free, with growing pauses. Throws StopRequested, or Busy naming the holder when
/// patience has run out. `meanwhile` is called before each pause and may throw.
SmLock take_patiently(const SmLocks& locks, const std::string& space, const std::string& name,
                      const SmGate::Patience& patience, const std::stop_token& stop,
                      const std::function<void()>& meanwhile = {});

} // namespace coppice
