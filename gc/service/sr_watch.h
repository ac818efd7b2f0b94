// Wakes the service when something in the directory of the SR has changed, without reading it.
#pragma once

#include <boost/asio/io_context.hpp>

#include <functional>
#include <memory>
#include <string>

namespace coppice {

class SrWatch {
public:
    /// `changed` is called on the event loop when an entry was made, removed or renamed, or a file that somebody wrote
    /// to was closed. Losing events, or the directory itself, counts as a change. Nothing keeps the file system from
    /// being unmounted. Throws SystemError.
    SrWatch(boost::asio::io_context& loop, const std::string& directory, std::function<void()> changed);
    ~SrWatch();
    /// Whether the end of mere reading counts as a change, too: a backup that has let go of an image. Not while this
    /// process reads the SR itself. Off at first.
    void mind_readers(bool on);
    /// False once the directory was removed or its file system unmounted.
    bool alive() const;

private:
    struct Parts;
    std::shared_ptr<Parts> parts_;
};

} // namespace coppice
