// Both ends of the control socket: peers that do not read, services that do not answer.
#include "gc/service/control_client.h"
#include "gc/service/control_server.h"
#include "tests/support/temporary_directory.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <thread>

namespace coppice {
namespace {

using coppice::test::TemporaryDirectory;
using std::chrono::milliseconds;

// More than the kernel keeps for a peer that does not read.
constexpr std::size_t large = 8U << 20;

Reply large_reply() {
    Reply reply;
    reply.text = std::string(large, 'x');
    return reply;
}

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, path.size());
    return address;
}

class ControlSocket : public testing::Test {
protected:
    /// A socket that nobody takes connections from.
    UniqueFd deaf_listener(int backlog) {
        UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const sockaddr_un address = address_of(path_);
        EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(socket.get(), backlog), 0);
        return socket;
    }
    /// Runs the server until it has closed the connection.
    void run_until_closed() {
        while (!peer_ || peer_->is_open())
            loop_.run_one();
    }

    TemporaryDirectory directory_;
    std::string path_ = directory_ / "s";
    boost::asio::io_context loop_;
    std::shared_ptr<Conversation> peer_;
};

TEST_F(ControlSocket, APeerThatNeverReadsIsDropped) {
    const ControlServer server{loop_, path_,
                               [&](const auto&, auto peer) {
                                   peer_ = std::move(peer);
                                   peer_->finish(large_reply());
                               },
                               milliseconds{20}};
    const UniqueFd client{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const sockaddr_un address = address_of(path_);
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::string request = to_line(new_request("status")) + "\n";
    ASSERT_EQ(::send(client.get(), request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    run_until_closed();
}

TEST_F(ControlSocket, APeerThatReadsGetsAllOfIt) {
    const ControlServer server{loop_, path_, [&](const auto&, auto peer) {
                                   peer_ = std::move(peer);
                                   peer_->finish(large_reply());
                               }};
    Reply reply;
    const std::jthread client{[&] { reply = ControlClient::connect(path_)->call(new_request("status")); }};
    run_until_closed();
    EXPECT_EQ(reply.text.size(), large);
}

TEST_F(ControlSocket, ARequestThatTakesItsTimeIsConfirmed) {
    const ControlServer server{loop_, path_, [&](const auto&, auto peer) { peer_ = std::move(peer); }};
    std::string heard;
    const std::jthread client{[&] {
        ControlClient::connect(path_)->call(new_request("status"), [&](const boost::json::object& what) {
            heard = boost::json::serialize(what);
            boost::asio::post(loop_, [&] { peer_->finish({}); });
        });
    }};
    run_until_closed();
    EXPECT_EQ(heard, R"({"event":"taken-up"})");
}

TEST_F(ControlSocket, AServiceThatHangsIsSaidToBeUnreachable) {
    const UniqueFd service = deaf_listener(100);
    auto client = ControlClient::connect(path_, milliseconds{20});
    ASSERT_TRUE(client);
    try {
        client->call(new_request("status"));
        FAIL() << "somebody has answered";
    } catch (const CommandFailed& error) {
        EXPECT_EQ(error.failure().status, ExitStatus::unreachable);
        EXPECT_EQ(error.failure().code, "service-unreachable");
    }
}

TEST_F(ControlSocket, AServiceThatTakesNoMoreConnectionsIsUnreachableToo) {
    const UniqueFd service = deaf_listener(1);
    std::vector<std::optional<ControlClient>> waiting;
    const auto connect_all = [&] {
        for (int i = 0; i < 10; ++i)
            waiting.push_back(ControlClient::connect(path_, milliseconds{20}));
    };
    EXPECT_THROW(connect_all(), CommandFailed);
}

} // namespace
} // namespace coppice
