#include "gc/service/control_server.h"

#include "format/base/error.h"
#include "format/base/log.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>

#include <deque>
#include <set>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using Socket = asio::local::stream_protocol::socket;
using ErrorCode = boost::system::error_code;

/// Beyond it, a peer does not read what it asked for.
constexpr std::size_t most_unread = 1000;

bool is_trusted(Socket& socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    return peer.uid == 0 || peer.uid == ::geteuid();
}

class Connection final : public Conversation, public std::enable_shared_from_this<Connection> {
public:
    Connection(Socket socket, const ControlServer::Handler& handle, std::chrono::milliseconds patience)
        : socket_{std::move(socket)}, timer_{socket_.get_executor()}, patience_{patience}, handle_{handle},
          input_{longest_request} {}

    void start() {
        if (!is_trusted(socket_)) {
            watch_for_end();
            fail(Failure{ExitStatus::refused, "not-permitted", "only root may talk to the service", ""});
            return;
        }
        close_later();
        asio::async_read_until(socket_, input_, '\n',
                               [self = shared_from_this()](const ErrorCode& error, std::size_t length) {
                                   self->timer_.cancel();
                                   self->received(error, length);
                               });
    }

    void progress(const json::object& what) override {
        json::object message;
        message["progress"] = what;
        send(to_line(message));
    }

    void taken_up() override {
        if (!finished_) progress({{"event", "taken-up"}});
    }

    void finish(const Reply& reply) override {
        finished_ = true;
        send(to_line(to_json(reply)));
    }

    bool is_open() const override { return open_; }

    void when_closed(std::function<void()> hung_up) override { hung_up_ = std::move(hung_up); }

    void close() {
        if (!open_) return;
        open_ = false;
        ErrorCode ignored; // the peer may be gone already
        socket_.close(ignored);
        timer_.cancel();
        const auto told = std::exchange(hung_up_, nullptr);
        if (told && !finished_) told();
    }

private:
    void received(const ErrorCode& error, std::size_t length) {
        if (error == asio::error::not_found) {
            watch_for_end();
            fail(Failure{ExitStatus::usage, "usage", "the request is longer than 64 KiB", ""});
            return;
        }
        if (error) {
            close();
            return;
        }
        std::string line(length, '\0');
        asio::buffer_copy(asio::buffer(line), input_.data());
        line.pop_back();
        watch_for_end();
        try {
            handle_(parse_request(line), shared_from_this());
            taken_up();
        } catch (const Error& trouble) {
            fail(failure_of(trouble, ""));
        } catch (const UsageError& trouble) {
            fail(failure_of(trouble, ""));
        } catch (const std::invalid_argument& trouble) {
            fail(failure_of(UsageError{trouble.what()}, ""));
        }
    }

    /// Nothing more is expected; reading is how one learns that the peer has gone.
    void watch_for_end() {
        socket_.async_read_some(asio::buffer(rest_), [self = shared_from_this()](const ErrorCode& error, std::size_t) {
            if (error)
                self->close();
            else
                self->watch_for_end();
        });
    }

    void fail(const Failure& failure) {
        Reply reply;
        reply.status = failure.status;
        reply.failure = failure;
        finish(reply);
    }

    void send(std::string line) {
        if (!open_) return;
        if (output_.size() >= most_unread) {
            close();
            return;
        }
        line += '\n';
        output_.push_back(std::move(line));
        if (output_.size() == 1) write();
    }

    /// Unless the timer is cancelled or set anew before.
    void close_later() {
        timer_.expires_after(patience_);
        timer_.async_wait([self = shared_from_this()](const ErrorCode& error) {
            if (!error) self->close();
        });
    }

    /// The kernel takes a line at once, unless the peer reads nothing for a long time.
    void write() {
        close_later();
        asio::async_write(socket_, asio::buffer(output_.front()),
                          [self = shared_from_this()](const ErrorCode& error, std::size_t) {
                              if (error || !self->open_) {
                                  self->close();
                                  return;
                              }
                              self->timer_.cancel();
                              self->output_.pop_front();
                              if (!self->output_.empty())
                                  self->write();
                              else if (self->finished_)
                                  self->hang_up();
                          });
    }

    /// Closing at once would make the peer lose the answer where it has sent more than was read.
    void hang_up() {
        ErrorCode ignored; // the peer may be gone already
        socket_.shutdown(Socket::shutdown_send, ignored);
        close_later();
    }

    Socket socket_;
    asio::steady_timer timer_;
    std::chrono::milliseconds patience_;
    const ControlServer::Handler& handle_;
    asio::streambuf input_;
    std::array<char, 256> rest_{};
    std::deque<std::string> output_;
    std::function<void()> hung_up_;
    bool open_ = true;
    bool finished_ = false;
};

} // namespace

struct ControlServer::Parts : std::enable_shared_from_this<ControlServer::Parts> {
    std::string path;
    Handler handle;
    std::chrono::milliseconds patience;
    asio::local::stream_protocol::acceptor acceptor;
    asio::steady_timer pause;
    std::set<std::weak_ptr<Connection>, std::owner_less<>> connections;

    Parts(asio::io_context& loop, std::string where, Handler handler, std::chrono::milliseconds longest)
        : path{std::move(where)}, handle{std::move(handler)}, patience{longest}, acceptor{loop}, pause{loop} {}

    void listen() {
        if (path.size() >= sizeof(sockaddr_un::sun_path))
            throw SystemError{"listen", path, std::make_error_code(std::errc::filename_too_long)};
        if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw SystemError::from_errno("remove", path);
        acceptor.open();
        // The mode of the socket is that of its descriptor when it is bound: never open to others, not for a moment.
        if (::fchmod(acceptor.native_handle(), 0600) != 0) throw SystemError::from_errno("set mode", path);
        ErrorCode error;
        acceptor.bind(asio::local::stream_protocol::endpoint{path}, error);
        if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
        if (error) throw SystemError{"listen", path, error};
        accept();
    }

    void accept() {
        acceptor.async_accept([self = shared_from_this()](const ErrorCode& error, Socket socket) {
            if (error == asio::error::operation_aborted) return;
            if (error) { // out of descriptors: those who are served will give some back
                self->pause.expires_after(std::chrono::seconds{1});
                self->pause.async_wait([self](const ErrorCode& stopped) {
                    if (!stopped) self->accept();
                });
                return;
            }
            std::erase_if(self->connections, [](const auto& connection) { return connection.expired(); });
            const auto connection = std::make_shared<Connection>(std::move(socket), self->handle, self->patience);
            self->connections.insert(connection);
            connection->start();
            self->accept();
        });
    }
};

ControlServer::ControlServer(asio::io_context& loop, const std::string& path, Handler handle,
                             std::chrono::milliseconds patience)
    : parts_{std::make_shared<Parts>(loop, path, std::move(handle), patience)} {
    parts_->listen();
}

ControlServer::~ControlServer() {
    ErrorCode ignored; // it is going away in any case
    parts_->acceptor.close(ignored);
    parts_->pause.cancel();
    for (const auto& connection : parts_->connections)
        if (const auto alive = connection.lock()) alive->close();
    ::unlink(parts_->path.c_str());
}

} // namespace coppice
