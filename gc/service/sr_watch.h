// Wakes the service when something in the directory of the SR has changed, without reading it. Of an SR on LVM it is
// the directory of device nodes, in which volumes appear and vanish as they are activated.
//
// All from the thread of the event loop, but for arm(): it looks at the directory, which on a server that is away takes
// for ever.
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
    /// being unmounted. Does not look at the directory: nothing is told before it is armed. Only entries whose names
    /// begin with `prefix` count. Throws SystemError.
    SrWatch(boost::asio::io_context& loop, const std::string& directory, std::function<void()> changed,
            std::string prefix = {});
    ~SrWatch();

    /// What arm() needs; may outlive the watch, and then does nothing that anybody hears of.
    struct Parts;
    std::shared_ptr<Parts> parts() const { return parts_; }
    /// Begins to watch, from any thread. Nothing new where it watches already. Throws SystemError; the watch is then no
    /// longer alive.
    static void arm(Parts& parts);

    /// Tells of what has happened up to now. The kernel knows of an event before the call that caused it returns.
    void catch_up();
    /// Whether the end of mere reading counts as a change, too: a backup that has let go of an image. Not while this
    /// process reads the SR itself; what it has closed before this call does not count. Off at first.
    void mind_readers(bool on);
    /// False once the directory was removed or its file system unmounted.
    bool alive() const;

private:
    std::shared_ptr<Parts> parts_;
};

} // namespace coppice
