#include "gc/service/control_client.h"

#include "format/base/error.h"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace coppice {
namespace {

namespace json = boost::json;

CommandFailed gone() {
    return CommandFailed{{ExitStatus::unreachable, "service-unreachable",
                          "the service went away before it answered; what it was doing will be continued", ""}};
}

CommandFailed hung() {
    return CommandFailed{{ExitStatus::unreachable, "service-unreachable",
                          "a service runs for this SR, but it does not answer; its log may say why", ""}};
}

/// Sending and connecting end with EAGAIN after that.
void limit_sending(int fd, std::chrono::milliseconds patience) {
    timeval limit{};
    limit.tv_sec = patience.count() / 1000;
    limit.tv_usec = patience.count() % 1000 * 1000;
    if (::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
        throw SystemError::from_errno("set up", "control socket");
}

void send_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) throw hung();
        if (sent <= 0) throw gone();
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

} // namespace

std::optional<ControlClient> ControlClient::connect(const std::string& path, std::chrono::milliseconds patience) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        throw SystemError{"connect", path, std::make_error_code(std::errc::filename_too_long)};
    path.copy(address.sun_path, path.size());
    UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) throw SystemError::from_errno("make socket", path);
    limit_sending(socket.get(), patience);
    while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        if (errno == EINTR) continue;
        // A socket that nobody listens on was left by a service that was killed.
        if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR) return std::nullopt;
        if (errno == EAGAIN) throw hung(); // its queue is full
        throw SystemError::from_errno("connect", path);
    }
    return ControlClient{std::move(socket), patience};
}

/// Throws where nothing has come when patience is at its end.
void ControlClient::require_readable() const {
    const auto end = std::chrono::steady_clock::now() + patience_;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        pollfd wait{socket_.get(), POLLIN, 0};
        const int ready = ::poll(&wait, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
        if (ready > 0) return;
        if (ready == 0) throw hung();
        if (errno != EINTR) throw SystemError::from_errno("wait for answer", "control socket");
    }
}

std::optional<std::string> ControlClient::next_line() {
    for (;;) {
        if (const std::size_t end = received_.find('\n'); end != received_.npos) {
            std::string line = received_.substr(0, end);
            received_.erase(0, end + 1);
            return line;
        }
        std::array<char, 16384> buffer;
        const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return std::nullopt;
        received_.append(buffer.data(), static_cast<std::size_t>(got));
    }
}

Reply ControlClient::call(const json::object& request, const std::function<void(const json::object&)>& on_progress) {
    send_all(socket_.get(), to_line(request) + "\n");
    require_readable();
    while (const auto line = next_line()) {
        json::error_code trouble;
        const json::value value = json::parse(*line, trouble);
        if (trouble || !value.is_object()) throw Error{"read answer of the service: it is not JSON"};
        const json::object& message = value.get_object();
        const json::value* const progress = message.if_contains("progress");
        if (progress == nullptr) return reply_from(message);
        if (on_progress && progress->is_object()) on_progress(progress->get_object());
    }
    throw gone();
}

json::object new_request(std::string_view verb) {
    return {{"version", control_version}, {"verb", verb}};
}

} // namespace coppice
