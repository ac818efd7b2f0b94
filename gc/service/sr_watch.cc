#include "gc/service/sr_watch.h"

#include "format/base/error.h"
#include "format/base/unique_fd.h"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <array>
#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <span>
#include <string_view>
#include <sys/inotify.h>
#include <unistd.h>

namespace coppice {
namespace {

namespace asio = boost::asio;

// Not IN_MODIFY: a running guest writes all the time. Not IN_OPEN: what matters is when somebody lets go.
constexpr std::uint32_t interesting = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE |
                                      IN_CLOSE_NOWRITE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr std::uint32_t lost = IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF;

} // namespace

struct SrWatch::Parts : std::enable_shared_from_this<SrWatch::Parts> {
    asio::posix::stream_descriptor events;
    UniqueFd arming; ///< the same inotify instance: the other descriptor may be closed while arm() waits for a server
    std::string directory;
    std::function<void()> changed;
    std::string prefix;
    bool readers = false;
    std::atomic<bool> armed{false};
    std::atomic<bool> alive{true};

    Parts(asio::io_context& loop, UniqueFd inotify, UniqueFd same, std::string where, std::function<void()> told)
        : events{loop, inotify.release()}, arming{std::move(same)}, directory{std::move(where)}, changed{
                                                                                                     std::move(told)} {}

    void wait() {
        events.async_wait(asio::posix::descriptor_base::wait_read,
                          [self = shared_from_this()](const boost::system::error_code& error) {
                              if (error) return;
                              self->catch_up();
                              if (self->alive) self->wait();
                          });
    }

    void catch_up() {
        std::array<char, 16384> buffer;
        for (;;) {
            const ssize_t length = ::read(events.native_handle(), buffer.data(), buffer.size());
            if (length <= 0) return;
            received(std::span{buffer}.first(static_cast<std::size_t>(length)));
        }
    }

    void received(std::span<const char> buffer) {
        bool told = false;
        for (std::size_t at = 0; at + sizeof(inotify_event) <= buffer.size();) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            if ((event.mask & lost) != 0) alive = false;
            const bool read_only = (event.mask & IN_CLOSE_NOWRITE) != 0;
            // Somebody has listed the directory: that is no change.
            const bool listed = (event.mask & IN_ISDIR) != 0 && read_only;
            const std::string_view name = event.len == 0 ? "" : buffer.data() + at + sizeof event; // ends with a NUL
            const bool others = event.len != 0 && !name.starts_with(prefix);
            told = told || !(listed || others || (read_only && !readers));
            at += sizeof event + event.len;
        }
        if (told && changed) changed();
    }
};

SrWatch::SrWatch(asio::io_context& loop, const std::string& directory, std::function<void()> changed,
                 std::string prefix) {
    UniqueFd fd{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    UniqueFd same{fd ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0) : -1};
    if (!fd || !same) throw SystemError::from_errno("watch", directory);
    parts_ = std::make_shared<Parts>(loop, std::move(fd), std::move(same), directory, std::move(changed));
    parts_->prefix = std::move(prefix);
    parts_->wait();
}

SrWatch::~SrWatch() {
    parts_->changed = nullptr;
    boost::system::error_code ignored; // closing an inotify descriptor does not fail
    parts_->events.close(ignored);
}

void SrWatch::arm(Parts& parts) {
    if (parts.armed) return;
    if (::inotify_add_watch(parts.arming.get(), parts.directory.c_str(), interesting) < 0) {
        parts.alive = false;
        throw SystemError::from_errno("watch", parts.directory);
    }
    parts.armed = true;
}

void SrWatch::catch_up() {
    if (parts_->alive) parts_->catch_up();
}

void SrWatch::mind_readers(bool on) {
    if (on == parts_->readers) return;
    catch_up();
    parts_->readers = on;
}

bool SrWatch::alive() const {
    return parts_->alive;
}

} // namespace coppice
