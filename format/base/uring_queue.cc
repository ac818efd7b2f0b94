#include "format/base/uring_queue.h"

#ifndef COPPICE_URING

namespace coppice {

std::unique_ptr<IoQueue> open_uring_queue() {
    return nullptr;
}

} // namespace coppice

#else

#include "format/base/log.h"

#include <cerrno>
#include <exception>
#include <liburing.h>
#include <system_error>

namespace coppice {
namespace {

constexpr unsigned entries = 128;

class UringQueue final : public IoQueue {
public:
    UringQueue() = default;
    ~UringQueue() override {
        if (open_) ::io_uring_queue_exit(&ring_);
    }

    bool open() {
        open_ = ::io_uring_queue_init(entries, &ring_, 0) == 0;
        return open_;
    }

    std::size_t depth() const override { return 8; }

protected:
    /// Handed to the kernel in finished(), all at once.
    void start(IoJob& job) override { waiting_.push_back(&job); }

    IoJob& finished() override {
        for (;;) {
            // There is room for every completion of what is in the kernel: no more than the queue holds are let in.
            io_uring_cqe* completion = nullptr;
            int result = ::io_uring_peek_cqe(&ring_, &completion);
            if (result != 0) {
                feed();
                result = ::io_uring_submit_and_wait(&ring_, 1);
                if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) lost(-result);
                continue;
            }
            IoJob& job = *static_cast<IoJob*>(::io_uring_cqe_get_data(completion));
            const int count = completion->res;
            ::io_uring_cqe_seen(&ring_, completion);
            --in_kernel_;
            if (!again(job, count)) return job;
            waiting_.push_front(&job);
        }
    }

private:
    /// Whether the job is not done yet.
    static bool again(IoJob& job, int count) {
        if (count == -EINTR || count == -EAGAIN) return true;
        if (count < 0) {
            job.outcome.error = -count;
            return false;
        }
        std::span<iovec> rest{job.parts};
        if (count == 0) {
            job.outcome.ended = job.target == nullptr;
            job.outcome.error = job.target == nullptr ? 0 : EIO;
            return false;
        }
        job.outcome.done += Bytes{static_cast<std::uint64_t>(count)};
        consume(rest, static_cast<std::size_t>(count));
        job.parts.erase(job.parts.begin(), job.parts.end() - static_cast<std::ptrdiff_t>(rest.size()));
        return !job.parts.empty();
    }

    /// The kernel may still be at work on our memory, and there is no way left to hear of its end: dying here is as
    /// safe as any crash, going on is not.
    [[noreturn]] static void lost(int error) {
        log::error("format", "io_uring: " + std::generic_category().message(error));
        std::terminate();
    }

    void feed() {
        while (!waiting_.empty() && in_kernel_ < entries) {
            io_uring_sqe* const request = ::io_uring_get_sqe(&ring_);
            if (request == nullptr) return;
            IoJob& job = *waiting_.front();
            waiting_.pop_front();
            const auto parts = static_cast<unsigned>(job.parts.size());
            const std::uint64_t offset = (job.offset + job.outcome.done).count();
            if (job.target == nullptr)
                ::io_uring_prep_readv(request, descriptor(job), job.parts.data(), parts, offset);
            else
                ::io_uring_prep_writev(request, descriptor(job), job.parts.data(), parts, offset);
            ::io_uring_sqe_set_data(request, &job);
            ++in_kernel_;
        }
    }

    io_uring ring_{};
    bool open_ = false;
    unsigned in_kernel_ = 0;
    std::deque<IoJob*> waiting_;
};

} // namespace

std::unique_ptr<IoQueue> open_uring_queue() {
    auto queue = std::make_unique<UringQueue>();
    if (!queue->open()) return nullptr;
    return queue;
}

} // namespace coppice

#endif
