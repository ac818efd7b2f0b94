#include "gc/service/sr_watch.h"

#include "format/base/error.h"
#include "format/base/unique_fd.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <array>
#include <cstring>
#include <sys/inotify.h>

namespace coppice {
namespace {

namespace asio = boost::asio;

// Not IN_MODIFY: a running guest writes all the time. Not IN_OPEN: what matters is when somebody lets go.
constexpr std::uint32_t interesting =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr std::uint32_t lost = IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF;

} // namespace

struct SrWatch::Parts : std::enable_shared_from_this<SrWatch::Parts> {
    asio::posix::stream_descriptor events;
    std::string directory;
    std::function<void()> changed;
    std::array<char, 16384> buffer{};
    bool alive = true;

    Parts(asio::io_context& loop, int fd, std::string where, std::function<void()> told)
        : events{loop, fd}, directory{std::move(where)}, changed{std::move(told)} {}

    void read() {
        events.async_read_some(asio::buffer(buffer),
                               [self = shared_from_this()](const boost::system::error_code& error, std::size_t length) {
                                   if (error) return;
                                   self->received(length);
                               });
    }

    void received(std::size_t length) {
        bool told = false;
        for (std::size_t at = 0; at + sizeof(inotify_event) <= length;) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            if ((event.mask & lost) != 0) alive = false;
            // Somebody has listed the directory: that is no change.
            const bool listed = (event.mask & IN_ISDIR) != 0 && (event.mask & IN_CLOSE_NOWRITE) != 0;
            told = told || !listed;
            at += sizeof event + event.len;
        }
        if (told && changed) changed();
        if (alive) read();
    }
};

SrWatch::SrWatch(asio::io_context& loop, const std::string& directory, std::function<void()> changed) {
    UniqueFd fd{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    if (!fd || ::inotify_add_watch(fd.get(), directory.c_str(), interesting) < 0)
        throw SystemError::from_errno("watch", directory);
    parts_ = std::make_shared<Parts>(loop, fd.release(), directory, std::move(changed));
    parts_->read();
}

SrWatch::~SrWatch() {
    parts_->changed = nullptr;
    boost::system::error_code ignored; // closing an inotify descriptor does not fail
    parts_->events.close(ignored);
}

void SrWatch::mind_readers(bool on) {
    if (!parts_->alive) return;
    // The same directory again: its mask is replaced.
    const std::uint32_t mask = on ? interesting | IN_CLOSE_NOWRITE : interesting;
    if (::inotify_add_watch(parts_->events.native_handle(), parts_->directory.c_str(), mask) < 0) parts_->alive = false;
}

bool SrWatch::alive() const {
    return parts_->alive;
}

} // namespace coppice
