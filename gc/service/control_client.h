// A verb's end of the control socket.
#pragma once

#include "format/base/unique_fd.h"
#include "gc/service/control_message.h"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace coppice {

class ControlClient {
public:
    /// How long a service that is well takes at most to take a request up: it does so between two events.
    static constexpr std::chrono::milliseconds usual_patience{10'000};

    /// Nullopt where no service listens on `path`. Throws SystemError (permission denied, for instance), and
    /// CommandFailed (unreachable) where the service takes up no connection within `patience`.
    static std::optional<ControlClient> connect(const std::string& path,
                                                std::chrono::milliseconds patience = usual_patience);

    /// Sends `request` (version and all) and waits for the end, however long that takes once the service has taken the
    /// request up, which its first line tells. Throws CommandFailed (unreachable) where that does not come within the
    /// patience, or the service goes away before the end.
    Reply call(const boost::json::object& request,
               const std::function<void(const boost::json::object&)>& on_progress = {});
    int descriptor() const { return socket_.get(); }

private:
    ControlClient(UniqueFd socket, std::chrono::milliseconds patience)
        : socket_{std::move(socket)}, patience_{patience} {}
    void require_readable() const;
    std::optional<std::string> next_line();

    UniqueFd socket_;
    std::chrono::milliseconds patience_;
    std::string received_;
};

/// {"version":1,"verb":verb}
boost::json::object new_request(std::string_view verb);

} // namespace coppice
