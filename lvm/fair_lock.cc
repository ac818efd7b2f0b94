#include "lvm/fair_lock.h"

#include "format/base/unique_fd.h"
#include "lvm/error.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sys/socket.h>
#include <sys/un.h>

namespace coppice::lvm {
namespace {

// sm gives the service two seconds to start.
constexpr int start_attempts = 20;
constexpr std::chrono::milliseconds start_pause{100};
constexpr std::chrono::milliseconds start_limit{30'000};

class Turn final : public HeldLock {
public:
    explicit Turn(UniqueFd socket) : socket_{std::move(socket)} {}

private:
    UniqueFd socket_;
};

timeval as_timeval(std::chrono::milliseconds time) {
    return {.tv_sec = time.count() / 1000, .tv_usec = time.count() % 1000 * 1000};
}

/// Nobody listens there: the service has not been started, or ended in this moment.
bool nobody_listens(int error) {
    return error == ENOENT || error == ECONNREFUSED || error == ECONNRESET || error == EPIPE;
}

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw Error{"take fair lock: " + path + ": the path is too long"};
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

/// The socket once it is our turn. Invalid, with errno, where it does not become ours.
UniqueFd wait_for_turn(const FairLock::Place& place) {
    const sockaddr_un address = address_of(place.socket);
    UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) throw SystemError::from_errno("make socket", place.socket);
    const timeval limit = as_timeval(place.limit);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit,
                 sizeof limit); // connecting waits while the queue is full
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const auto* const name = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(socket.get(), name, sizeof address) != 0) return {};
    std::array<char, 16> word{};
    const ssize_t count = ::recv(socket.get(), word.data(), word.size(), 0);
    if (count == 0) errno = ECONNRESET;
    return count > 0 ? std::move(socket) : UniqueFd{};
}

void introduce_ourselves(int socket) {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    const std::string text =
        std::to_string(::getpid()) + " - " + std::to_string(std::chrono::duration<double>{now}.count()) + "\n";
    // Only for the people who look at the service: not being heard changes nothing.
    static_cast<void>(::send(socket, text.data(), text.size(), MSG_NOSIGNAL));
}

} // namespace

void FairLock::start_service() {
    const Command command{.arguments = {place_.systemctl, "start", place_.service},
                          .environment = {"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
                          .kind = Command::Kind::reads,
                          .limit = start_limit};
    const CommandResult result = runner_.run(command);
    if (result.status != 0) throw CommandFailed{"start fair lock", place_.service, command, result};
}

std::unique_ptr<HeldLock> FairLock::take() {
    if (!std::filesystem::is_directory(std::filesystem::path{place_.socket}.parent_path()))
        return std::make_unique<Turn>(UniqueFd{});
    for (int attempt = 0;; ++attempt) {
        if (UniqueFd socket = wait_for_turn(place_)) {
            introduce_ourselves(socket.get());
            return std::make_unique<Turn>(std::move(socket));
        }
        const int error = errno;
        if (error == EINTR) continue;
        if (error == EAGAIN || error == EWOULDBLOCK)
            throw Busy{place_.socket, "our turn has not come within " + std::to_string(place_.limit.count()) + " ms"};
        if (!nobody_listens(error) || attempt == start_attempts)
            throw SystemError{"take fair lock", place_.socket, {error, std::generic_category()}};
        if (attempt == 0) start_service();
        pause_(start_pause);
    }
}

} // namespace coppice::lvm
