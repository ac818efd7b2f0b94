// Requests in flight: handed in one after the other, finished in any order.
//
// What a device cannot be asked through its descriptor, because it has none (tests, devices made of others), is done at
// once through its own read() and write(). Used by one thread.
#pragma once

#include "format/base/block_device.h"
#include "format/base/engine.h"
#include "format/base/vector_io.h"

#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <vector>

namespace coppice {

/// One stretch of one device, read into or written from memory in several places.
struct IoJob {
    /// Exactly one of both.
    const BlockDevice* source = nullptr; ///< read; all of the stretch is below its size()
    BlockDevice* target = nullptr;       ///< written
    Bytes offset;
    std::vector<iovec> parts; ///< used up on the way; at most `most_parts`
    std::size_t owner = 0;    ///< whoever waits for it

    IoOutcome outcome;
    std::exception_ptr failure; ///< once it has finished: SystemError, or what the device has thrown

    Bytes length() const;
};

class IoQueue {
public:
    virtual ~IoQueue() = default;
    IoQueue() = default;
    IoQueue(const IoQueue&) = delete;
    IoQueue& operator=(const IoQueue&) = delete;

    /// The job, and what it points to, stays in place until wait() returns it. Never throws: a failure is the job's.
    void submit(IoJob& job);
    /// The next one that has finished. Call it only as long as there are some.
    IoJob& wait();
    bool empty() const { return unfinished_ == 0; }
    /// How many buffers it is worth to keep going at once.
    virtual std::size_t depth() const = 0;

protected:
    /// Starts a job on a descriptor.
    virtual void start(IoJob& job) = 0;
    /// Waits for one that was started, whose outcome is then known.
    virtual IoJob& finished() = 0;

    static int descriptor(const IoJob& job);

private:
    std::size_t unfinished_ = 0;
    std::deque<IoJob*> at_once_; ///< done when they were handed in
};

/// For the copying part of `engine`. Throws Unsupported where the kernel does not offer what was asked for by name.
std::unique_ptr<IoQueue> open_queue(Engine engine);

} // namespace coppice
