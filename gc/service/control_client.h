// A verb's end of the control socket.
#pragma once

#include "format/base/unique_fd.h"
#include "gc/service/control_message.h"

#include <functional>
#include <optional>
#include <string>

namespace coppice {

class ControlClient {
public:
    /// Nullopt where no service listens on `path`. Throws SystemError (permission denied, for instance).
    static std::optional<ControlClient> connect(const std::string& path);

    /// Sends `request` (version and all) and waits for the end, however long that takes. Throws CommandFailed
    /// (unreachable) where the service goes away before.
    Reply call(const boost::json::object& request,
               const std::function<void(const boost::json::object&)>& on_progress = {});
    int descriptor() const { return socket_.get(); }

private:
    explicit ControlClient(UniqueFd socket) : socket_{std::move(socket)} {}
    std::optional<std::string> next_line();

    UniqueFd socket_;
    std::string received_;
};

/// {"version":1,"verb":verb}
boost::json::object new_request(std::string_view verb);

} // namespace coppice
