// The fair lock against a server that speaks as sm's does.
#include "format/base/unique_fd.h"
#include "lvm/error.h"
#include "lvm/fair_lock.h"
#include "tests/lvm/scripted_lvm.h"
#include "tests/support/temporary_directory.h"

#include <array>
#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>

namespace coppice::lvm::test {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

/// Listens; what it says and when is the test's.
class Server {
public:
    explicit Server(const std::string& path) : socket_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(socket_.get(), 64), 0);
    }

    /// The next who wants the lock gets it.
    UniqueFd serve() const {
        UniqueFd client{::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        EXPECT_EQ(::send(client.get(), "LOCK", 4, MSG_NOSIGNAL), 4);
        return client;
    }
    static std::string hear(int client) {
        std::array<char, 256> text{};
        const ssize_t count = ::recv(client, text.data(), text.size(), 0);
        return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0))};
    }

private:
    UniqueFd socket_;
};

struct Fixture {
    coppice::test::TemporaryDirectory directory;
    Events events;
    ScriptedRunner runner{events};
    FairLock::Place place{.socket = directory / "devicemapper", .systemctl = "/usr/bin/systemctl", .limit = 30s};
    FairLock lock() {
        return FairLock{place, runner, [this](std::chrono::milliseconds) { events.emplace_back("pause"); }};
    }
};

TEST(FairLock, IsHeldFromBeingServedUntilItIsClosed) {
    Fixture fixture;
    const Server server{fixture.place.socket};
    std::string introduction, after = "unknown";
    std::thread other{[&] {
        const UniqueFd client = server.serve();
        introduction = Server::hear(client.get());
        after = Server::hear(client.get()); // returns when the lock is given back
    }};
    fixture.lock().take().reset();
    other.join();
    EXPECT_THAT(introduction, HasSubstr(std::to_string(::getpid()) + " - "));
    EXPECT_EQ(after, "");
}

TEST(FairLock, IsNotNeededWhereNobodyHasIt) {
    Fixture fixture;
    fixture.place.socket = fixture.directory / "absent/devicemapper";
    EXPECT_NE(fixture.lock().take(), nullptr);
    EXPECT_TRUE(fixture.events.empty());
}

TEST(FairLock, StartsItsServiceWhereNobodyListens) {
    Fixture fixture;
    std::unique_ptr<Server> server;
    std::thread other;
    fixture.runner.expect("systemctl start fairlock@devicemapper.service", {}, [&] {
        server = std::make_unique<Server>(fixture.place.socket);
        other = std::thread{[&] { Server::hear(server->serve().get()); }};
    });
    EXPECT_NE(fixture.lock().take(), nullptr);
    other.join();
    EXPECT_THAT(fixture.events, ElementsAre(EndsWith("devicemapper.service"), "pause"));
}

TEST(FairLock, SaysThatItsServiceDoesNotStart) {
    Fixture fixture;
    fixture.runner.expect("systemctl start fairlock@devicemapper.service", failed("Unit not found.\n"));
    EXPECT_THROW(fixture.lock().take(), CommandFailed);
}

TEST(FairLock, GivesUpWhereTheServiceNeverListens) {
    Fixture fixture;
    fixture.runner.expect("systemctl start fairlock@devicemapper.service");
    try {
        fixture.lock().take();
        FAIL();
    } catch (const SystemError& error) {
        EXPECT_THAT(error.what(), HasSubstr("take fair lock: " + fixture.place.socket));
    }
    EXPECT_EQ(fixture.events.size(), 1 + 20);
}

TEST(FairLock, IsBusyWhereOurTurnDoesNotCome) {
    Fixture fixture;
    fixture.place.limit = 30ms;
    const Server server{fixture.place.socket};
    EXPECT_THROW(fixture.lock().take(), Busy);
}

} // namespace
} // namespace coppice::lvm::test
