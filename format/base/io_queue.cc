#include "format/base/io_queue.h"

#include "format/base/error.h"
#include "format/base/thread_queue.h"
#include "format/base/uring_queue.h"

namespace coppice {
namespace {

template <class Request>
std::vector<Request> requests_of(const IoJob& job) {
    std::vector<Request> requests;
    Bytes offset = job.offset;
    for (const iovec& part : job.parts) {
        requests.push_back({offset, {static_cast<std::byte*>(part.iov_base), part.iov_len}});
        offset += Bytes{part.iov_len};
    }
    return requests;
}

/// Nothing is ever in flight.
class PlainQueue final : public IoQueue {
public:
    std::size_t depth() const override { return 1; }

protected:
    void start(IoJob& job) override {
        job.outcome = job.target == nullptr ? read_all(descriptor(job), job.offset, job.parts)
                                            : write_all(descriptor(job), job.offset, job.parts);
        done_.push_back(&job);
    }
    IoJob& finished() override {
        IoJob& job = *done_.front();
        done_.pop_front();
        return job;
    }

private:
    std::deque<IoJob*> done_;
};

void judge(IoJob& job) {
    try {
        if (job.target == nullptr)
            require_read(job.outcome, job.offset, job.source->name());
        else
            require_written(job.outcome, job.offset, job.target->name());
    } catch (const SystemError&) {
        job.failure = std::current_exception();
    }
}

} // namespace

Bytes IoJob::length() const {
    Bytes length;
    for (const iovec& part : parts)
        length += Bytes{part.iov_len};
    return length;
}

int IoQueue::descriptor(const IoJob& job) {
    return job.target == nullptr ? job.source->descriptor() : job.target->descriptor();
}

void IoQueue::submit(IoJob& job) {
    try {
        if (descriptor(job) >= 0) {
            if (job.target != nullptr) job.target->about_to_write(ByteRange::at(job.offset, job.length()));
            start(job);
            ++unfinished_;
            return;
        }
        if (job.target == nullptr)
            job.source->read(requests_of<ReadRequest>(job));
        else
            job.target->write(requests_of<WriteRequest>(job));
    } catch (const std::exception&) { // whatever a device throws, others are in flight that have to end first
        job.failure = std::current_exception();
    }
    at_once_.push_back(&job);
    ++unfinished_;
}

IoJob& IoQueue::wait() {
    --unfinished_;
    if (!at_once_.empty()) {
        IoJob& job = *at_once_.front();
        at_once_.pop_front();
        return job;
    }
    IoJob& job = finished();
    judge(job);
    return job;
}

std::unique_ptr<IoQueue> open_queue(Engine engine) {
    if (engine == Engine::uring || engine == Engine::automatic) {
        if (auto queue = open_uring_queue()) return queue;
        if (engine == Engine::uring) throw Unsupported{"engine uring", "this kernel or container has no io_uring"};
    }
    if (engine == Engine::threads || engine == Engine::automatic) return open_thread_queue();
    return std::make_unique<PlainQueue>();
}

} // namespace coppice
