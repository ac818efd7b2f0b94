#include "format/base/thread_queue.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace coppice {
namespace {

// Enough to keep a disk busy while the page cache is copied to and from; more only compete for processors.
constexpr std::size_t threads_at_once = 4;

class ThreadQueue final : public IoQueue {
public:
    ~ThreadQueue() override {
        for (std::jthread& thread : threads_)
            thread.request_stop();
    }

    std::size_t depth() const override { return 8; }

protected:
    void start(IoJob& job) override {
        // With the first job: many movers never have one.
        while (threads_.size() < threads_at_once)
            threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
        const std::lock_guard held{mutex_};
        waiting_.push_back(&job);
        more_.notify_one();
    }

    IoJob& finished() override {
        std::unique_lock held{mutex_};
        some_done_.wait(held, [&] { return !done_.empty(); });
        IoJob& job = *done_.front();
        done_.pop_front();
        return job;
    }

private:
    void work(const std::stop_token& stop) {
        std::unique_lock held{mutex_};
        while (more_.wait(held, stop, [&] { return !waiting_.empty(); })) {
            IoJob& job = *waiting_.front();
            waiting_.pop_front();
            held.unlock();
            job.outcome = job.target == nullptr ? read_all(descriptor(job), job.offset, job.parts)
                                                : write_all(descriptor(job), job.offset, job.parts);
            held.lock();
            done_.push_back(&job);
            some_done_.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable_any more_;
    std::condition_variable_any some_done_;
    std::deque<IoJob*> waiting_;
    std::deque<IoJob*> done_;
    std::vector<std::jthread> threads_; ///< last: they use all others
};

} // namespace

std::unique_ptr<IoQueue> open_thread_queue() {
    return std::make_unique<ThreadQueue>();
}

} // namespace coppice
