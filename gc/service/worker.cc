#include "gc/service/worker.h"

#include "format/base/error.h"
#include "format/base/log.h"
#include "gc/service/resident_memory.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <unistd.h>

namespace coppice {
namespace {

/// Tells the board, and whoever else listens.
class BoardProgress final : public Progress {
public:
    BoardProgress(StatusBoard& board, Progress* other) : board_{board}, other_{other} {}

    void began(const Step& step, std::size_t index, std::size_t count) override {
        board_.step_began(step, index + 1, count);
        if (other_ != nullptr) other_->began(step, index, count);
    }
    void advanced(Bytes done, Bytes total) override {
        board_.step_advanced(done, total);
        if (other_ != nullptr) other_->advanced(done, total);
    }
    void ended(const StepResult& result) override {
        board_.step_ended();
        if (other_ != nullptr) other_->ended(result);
    }

private:
    StatusBoard& board_;
    Progress* other_;
};

} // namespace

Worker::Worker(std::string sr, SessionOptions options, StatusBoard& board, WallClock clock)
    : sr_{std::move(sr)}, options_{std::move(options)}, board_{board}, clock_{std::move(clock)},
      thread_{[this](const std::stop_token& end) { run(end); }} {}

Worker::~Worker() {
    close();
}

void Worker::close() {
    thread_.request_stop();
    interrupt();
}

void Worker::submit(Work work) {
    {
        const std::lock_guard held{mutex_};
        queue_.push_back(std::move(work));
    }
    wake_.notify_all();
}

void Worker::interrupt() {
    const std::lock_guard held{mutex_};
    if (!running_) return;
    interrupted_ = true;
    running_->request_stop();
}

void Worker::dismiss() {
    std::deque<Work> unbegun;
    {
        const std::lock_guard held{mutex_};
        unbegun.swap(queue_);
    }
    interrupt();
    for (const Work& work : unbegun) {
        WorkResult result;
        result.policy = work.order.policy;
        result.outcome.emplace().stopped = true;
        result.interrupted = true;
        if (work.finished) work.finished(std::move(result));
    }
}

bool Worker::working() const {
    const std::lock_guard held{mutex_};
    return running_.has_value();
}

std::uint64_t Worker::activity() const {
    const std::string task = "/proc/self/task/" + std::to_string(thread_id_.load());
    std::uint64_t sum = 0;
    std::ifstream status{task + "/status"};
    for (std::string line; std::getline(status, line);)
        if (line.find("ctxt_switches:") != line.npos) sum += std::stoull(line.substr(line.find(':') + 1));
    // Behind the name in brackets, which may hold anything: fields 3 and on; 14 and 15 are the time on a processor.
    std::ifstream times{task + "/stat"};
    std::string text{std::istreambuf_iterator<char>{times}, {}};
    std::istringstream fields{text.substr(std::min(text.rfind(')') + 1, text.size()))};
    std::string field;
    for (int number = 3; number <= 15 && fields >> field; ++number)
        if (number >= 14) sum += std::stoull(field);
    return sum;
}

void Worker::run(const std::stop_token& end) {
    thread_id_ = ::gettid();
    while (!end.stop_requested()) {
        Work work;
        std::stop_source stop;
        {
            std::unique_lock held{mutex_};
            if (!wake_.wait(held, end, [this] { return !queue_.empty(); }) || end.stop_requested()) return;
            work = std::move(queue_.front());
            queue_.pop_front();
            running_ = stop;
            interrupted_ = false;
        }
        if (end.stop_requested()) stop.request_stop(); // asked for between the two
        WorkResult result = perform(work, stop);
        board_.step_ended();
        return_free_memory(); // maps of large images
        {
            const std::lock_guard held{mutex_};
            result.interrupted = interrupted_ || end.stop_requested();
            running_.reset();
        }
        if (work.finished) work.finished(std::move(result));
    }
}

WorkResult Worker::perform(const Work& work, std::stop_source& stop) {
    WorkResult result;
    result.policy = work.order.policy;
    if (work.prepare) work.prepare();
    try {
        const SrLocation sr = locate_sr(sr_);
        Session session{sr, options_, Session::Intent::change, work.verb};
        if (!work.vdis.empty()) result.policy.only = find_vdis(session.tree(), work.vdis);
        WorkOrder order = work.order;
        order.policy = result.policy;
        JournalDirector director{std::move(order), session.journal(), true, clock_, work.planned};
        BoardProgress progress{board_, work.progress.get()};
        result.outcome = session.run(director, work.merge, work.rate, progress, stop.get_token());
        result.sr_lock = session.sr_hold_times();
    } catch (const JournalSetAside& error) {
        result.journal_set_aside = true;
        result.failure = failure_of(error, sr_);
    } catch (const std::exception& error) { // whatever it is, it ends this order and not the service
        result.failure = failure_of(error, sr_);
    }
    return result;
}

} // namespace coppice
