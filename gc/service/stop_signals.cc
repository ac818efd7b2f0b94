#include "gc/service/stop_signals.h"

#include "format/base/error.h"

#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

namespace coppice {
namespace {

sigset_t stop_set() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        struct sigaction current {};
        // Whoever started us with a signal ignored (nohup) meant it.
        if (::sigaction(signal, nullptr, &current) == 0 && current.sa_handler == SIG_IGN) continue;
        ::sigaddset(&set, signal);
    }
    return set;
}

} // namespace

StopSignals::StopSignals() {
    const sigset_t set = stop_set();
    signals_ = UniqueFd{::signalfd(-1, &set, SFD_CLOEXEC)};
    wake_ = UniqueFd{::eventfd(0, EFD_CLOEXEC)};
    if (!signals_ || !wake_) throw SystemError::from_errno("wait for signals", "signalfd");
    if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, &former_); error != 0)
        throw SystemError{"block signals", "SIGTERM", std::error_code{error, std::generic_category()}};
    watcher_ = std::thread{[this] { watch(); }};
}

StopSignals::~StopSignals() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
    watcher_.join();
    ::pthread_sigmask(SIG_SETMASK, &former_, nullptr);
}

void StopSignals::watch() {
    while (true) {
        std::array<pollfd, 2> waits{{{signals_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
        if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
        if (waits[1].revents != 0) return;
        signalfd_siginfo received{};
        if (waits[0].revents == 0 || ::read(signals_.get(), &received, sizeof received) != sizeof received) continue;
        if (!source_.request_stop()) ::_exit(128 + static_cast<int>(received.ssi_signo));
    }
}

} // namespace coppice
