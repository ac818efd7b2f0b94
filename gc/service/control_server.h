// The service's end of the control socket.
//
// A Unix stream socket that only root (or the user the service runs as) may talk to. Runs on the event loop of the
// service; a peer that sends too much, or does not read what it asked for, is cut off and disturbs nobody.
#pragma once

#include "gc/service/control_message.h"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace coppice {

/// One request and the way back to whoever made it. Outlives the connection: what is said to somebody who has hung up
/// is lost. All calls from the thread of the event loop.
class Conversation {
public:
    virtual ~Conversation() = default;
    virtual void progress(const boost::json::object& what) = 0;
    /// Says that the request was taken up, where the answer takes its time: whoever hears nothing at all gives up.
    virtual void taken_up() = 0;
    /// Once; the connection is closed behind it.
    virtual void finish(const Reply& reply) = 0;
    virtual bool is_open() const = 0;
    /// Calls `hung_up` when the peer closes before finish().
    virtual void when_closed(std::function<void()> hung_up) = 0;
};

class ControlServer {
public:
    /// `handle` gets the verb's request. An Error that it throws becomes the answer.
    using Handler = std::function<void(const boost::json::object& request, std::shared_ptr<Conversation>)>;

    /// For how long a connection may lie without a request, or with an answer that its peer does not read.
    static constexpr std::chrono::milliseconds usual_patience{10'000};

    /// Listens on `path`, with mode 0600; a socket that a dead service has left there is replaced. Throws SystemError.
    ControlServer(boost::asio::io_context& loop, const std::string& path, Handler handle,
                  std::chrono::milliseconds patience = usual_patience);
    /// Removes the socket, and closes what is open.
    ~ControlServer();

private:
    struct Parts;
    std::shared_ptr<Parts> parts_;
};

} // namespace coppice
