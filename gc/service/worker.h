// The thread that works on the SR, one order after the other. Everything of the SR is opened for an order and closed
// behind it.
#pragma once

#include "gc/base/exit_status.h"
#include "gc/cycle/journal_director.h"
#include "gc/cycle/session.h"
#include "gc/service/status_board.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace coppice {

/// How an order ended: with an outcome, or with what kept it from beginning.
struct WorkResult {
    std::optional<Outcome> outcome;
    Policy policy; ///< with the VDIs that were named found
    std::optional<Failure> failure;
    HoldTimes sr_lock;
    bool journal_set_aside = false; ///< nothing was changed; the next order begins with a new one
    bool interrupted = false;       ///< by interrupt(), not by sm
};

/// One order. The callbacks come from the worker's thread, or from the one that dismisses it.
struct Work {
    std::string verb; ///< told to whoever comes second
    WorkOrder order;
    std::vector<std::string> vdis; ///< as the user named them; empty: all
    MergeOptions merge;
    std::optional<Bytes> rate;
    std::shared_ptr<Progress> progress; ///< beside the board; may be null
    std::function<void()> prepare;      ///< called before anything of the SR is opened; may be empty
    std::function<void(const Admission&)> planned;
    std::function<void(WorkResult)> finished;
};

class Worker {
public:
    Worker(std::string sr, SessionOptions options, StatusBoard& board, WallClock clock = &host_time);
    /// Stops what is running, and waits for its end.
    ~Worker();

    void submit(Work work);
    /// What is running ends between two batches, with `interrupted` set; what is queued goes on.
    void interrupt();
    /// The same, and what is queued ends as if it had been interrupted at its beginning.
    void dismiss();
    /// The same as interrupt(), and nothing is begun any more. Does not wait.
    void close();
    /// Whether an order is being carried out.
    bool working() const;
    /// Changes as long as the worker makes progress of any kind: time on a processor, bytes read and written.
    std::uint64_t activity() const;

private:
    void run(const std::stop_token& end);
    WorkResult perform(const Work& work, std::stop_source& stop);

    std::string sr_;
    SessionOptions options_;
    StatusBoard& board_;
    WallClock clock_;
    mutable std::mutex mutex_;
    std::condition_variable_any wake_;
    std::deque<Work> queue_;
    std::optional<std::stop_source> running_;
    bool interrupted_ = false;
    std::atomic<int> thread_id_{0};
    std::jthread thread_; ///< last: it uses all others
};

} // namespace coppice
