#include "gc/service/service.h"

#include "coalesce/step_shape.h"
#include "format/base/error.h"
#include "format/base/log.h"
#include "format/base/passing_time.h"
#include "gc/scan/occupancy.h"
#include "gc/service/resident_memory.h"
#include "gc/service/status_report.h"
#include "gc/service/systemd.h"
#include "gc/volumes/merge_entry.h"
#include "lvm/names.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace coppice {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;
using std::chrono::milliseconds;

/// A copy in progress, or a snapshot that sm is just making, is not looked at until it is quiet for so long.
constexpr milliseconds settling{1000};
/// A file that somebody touches all the time must not keep us from looking at the others.
constexpr milliseconds longest_settling{10'000};
/// A stop is honoured within a second. What has not come to rest by then is left as by a kill, which is safe.
constexpr milliseconds longest_stop{900};
/// Where volumes have nodes while they are active. What changes a volume activates it, before or behind that; a change
/// of the metadata alone is not seen.
const std::string device_nodes = "/dev/mapper";
/// After sm asked for the SR, before it is looked whether it is still needed.
constexpr UnixSeconds giving_way = 5;
constexpr UnixSeconds longest_wait = 300;
constexpr std::size_t most_notices = 20;

void make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) throw SystemError::from_errno("create directory", path);
}

/// As execve(2) has them.
std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> result;
    for (std::string& word : words)
        result.push_back(word.data());
    result.push_back(nullptr);
    return result;
}

} // namespace

ServiceLock::ServiceLock(const std::string& run_dir, const std::string& key) {
    make_directory(run_dir);
    const std::string path = run_dir + "/" + key + ".service";
    file_ = UniqueFd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!file_) throw SystemError::from_errno("open", path);
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
        std::string pid;
        std::ifstream{path} >> pid;
        throw Busy{key, "a service for this SR runs already (pid " + (pid.empty() ? "unknown" : pid) + ")"};
    }
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(file_.get(), 0) != 0 || ::pwrite(file_.get(), pid.data(), pid.size(), 0) < 0)
        throw SystemError::from_errno("write", path);
}

std::string control_socket(const std::string& run_dir, const std::string& key) {
    return run_dir + "/" + key + ".sock";
}

Service::Service(std::string sr, const SrLocation& location, SessionOptions options, ConfigSource load, WallClock clock)
    : sr_{std::move(sr)}, name_{location.name}, key_{state_key(location)}, location_{location},
      directory_{location.directory}, options_{std::move(options)}, load_{std::move(load)}, clock_{std::move(clock)},
      config_{load_()}, lock_{options_.run_dir, key_} {
    // Before any thread is started, so that signals come to the loop.
    for (const int signal : {SIGTERM, SIGINT, SIGHUP})
        signals_.add(signal);
    std::signal(SIGPIPE, SIG_IGN);
    server_ = std::make_unique<ControlServer>(loop_, control_socket(options_.run_dir, key_),
                                              [this](const auto& request, const auto& peer) { handle(request, peer); });
    worker_ = std::make_unique<Worker>(sr_, options_, board_, clock_);
}

Service::~Service() {
    lookers_.join();
    worker_.reset();
}

void Service::run() {
    const auto wait_for_signal = [this](const auto& again) -> void {
        signals_.async_wait([this, again](const ErrorCode& error, int signal) {
            if (error) return;
            on_signal(signal);
            again(again);
        });
    };
    wait_for_signal(wait_for_signal);
    open_journal();
    systemd::ready();
    log::notice("gc", "service for SR " + name_ + " started");
    want_cycle(milliseconds{0});
    tick();
    loop_.run();
    log::notice("gc", "service for SR " + name_ + " ended");
}

void Service::on_signal(int signal) {
    if (signal == SIGHUP)
        reload();
    else
        stop();
}

void Service::stop() {
    if (stopping_) return;
    stopping_ = true;
    systemd::stopping();
    server_.reset();
    watch_.reset();
    wake_.cancel();
    tick_.cancel();
    worker_->close();
    if (!worker_->working() && looks_ == 0) {
        loop_.stop();
        return;
    }
    deadline_.expires_after(longest_stop);
    deadline_.async_wait([this](const ErrorCode& error) {
        if (error) return;
        withdraw_notes();
        log::notice("gc", "the work did not come to rest in time; it is left as it is and will be continued");
        std::_Exit(0);
    });
}

/// A merge that is left behind is no longer going on: sm would wait for its end before it opens the chain. But as long
/// as a thread of ours may write to the chain, or holds its locks, nobody may be told so: that is done by a process of
/// its own, behind the end of this one. A file server that is away keeps that process, not us.
void Service::withdraw_notes() const {
    const auto operation = board_.status().operation;
    if (!operation) return;
    const std::string& vdi = announced_image(operation->step);
    const std::array<std::string, 2> notes{directory_ + "/coalesce_" + vdi, // without a directory there is no such file
                                           SmDirectories::of_this_host().run_files + "/" + key_ + "/gc_running_" + vdi};
    lvm::Command removal; // of an entry that is a volume
    if (directory_.empty()) removal = removal_of_merge_entry(location_, options_.run_dir, vdi);
    const auto arguments = pointers(removal.arguments), environment = pointers(removal.environment);
    const pid_t parent = ::getpid();
    std::array<int, 2> life{};
    if (::pipe2(life.data(), O_CLOEXEC) != 0 || ::fork() != 0) return; // our end of the pipe closes with us
    // Copied from a process with threads: nothing but plain system calls from here on.
    std::signal(SIGTERM, SIG_IGN);
    if (::dup2(life[0], STDIN_FILENO) < 0) ::_exit(1);
    ::closefrom(STDIN_FILENO + 1); // the locks of descriptors that we share would outlive their owner
    for (char none = 0; ::read(STDIN_FILENO, &none, 1) != 0;) {
    }
    while (::getppid() == parent)
        ::poll(nullptr, 0, 1);
    pid_t program = 0;
    if (arguments.front() != nullptr &&
        ::posix_spawn(&program, arguments.front(), nullptr, nullptr, arguments.data(), environment.data()) == 0)
        ::waitpid(program, nullptr, 0);
    for (const std::string& note : notes)
        ::unlink(note.c_str());
    ::_exit(0);
}

void Service::reload() {
    systemd::reloading();
    try {
        config_ = load_();
        log::notice("gc", "read the configuration again");
        if (cycle_running_ && orders_ == 0) worker_->interrupt();
        want_cycle(milliseconds{0});
    } catch (const std::exception& error) {
        notice(std::string{"the configuration was not read again: "} + error.what());
    }
    systemd::ready();
}

void Service::notice(const std::string& text) {
    log::warning("gc", text);
    board_.change([&](ServiceStatus& status) {
        std::erase(status.notices, text);
        status.notices.push_back(text);
        if (status.notices.size() > most_notices) status.notices.erase(status.notices.begin());
    });
}

WorkOrder Service::everyday_order() const {
    WorkOrder order;
    order.window = config_.window;
    order.danger = config_.danger;
    order.patient = true;
    return order;
}

/// What the worker has to do so that changes of the SR are heard of: this thread never waits for a file server.
std::function<void()> Service::watch() {
    const std::string& group = location_.group;
    try {
        if (!watch_ || !watch_->alive())
            watch_ = std::make_unique<SrWatch>(
                loop_, group.empty() ? directory_ : device_nodes, [this] { want_cycle(settling); },
                group.empty() ? std::string{} : lvm::mapper_name(group, {}));
    } catch (const Error& error) {
        watch_.reset(); // the host is out of watches: --idle still wakes us
        log::info("gc", error.what());
        return {};
    }
    return [parts = watch_->parts()] {
        try {
            SrWatch::arm(*parts);
        } catch (const Error& error) { // the SR is not there
            log::info("gc", error.what());
        }
    };
}

void Service::mind_readers() {
    if (watch_) watch_->mind_readers(!cycle_running_ && orders_ == 0 && looks_ == 0);
}

void Service::want_cycle(milliseconds delay) {
    if (stopping_) return;
    if (cycle_running_) {
        cycle_wanted_ = true;
        return;
    }
    // Events may put a look off for a while, not for ever.
    const auto now = std::chrono::steady_clock::now();
    const auto latest = now + real_wait(delay == settling ? longest_settling : delay);
    latest_look_ = std::min(latest_look_.value_or(latest), latest);
    wake_.expires_at(std::min(now + real_wait(delay), *latest_look_));
    wake_.async_wait([this](const ErrorCode& error) {
        if (!error) begin_cycle();
    });
}

void Service::begin_cycle() {
    if (stopping_ || cycle_running_) return;
    const UnixSeconds time = clock_().now;
    if (yielding_until_ && *yielding_until_ - time > yielding) yielding_until_.reset(); // the clock was set back
    if (yielding_until_ && *yielding_until_ > time) {
        wait_for("it was asked to give way");
        latest_look_.reset();
        sleep_until(*yielding_until_);
        return;
    }
    yielding_until_.reset();
    cycle_running_ = true;
    cycle_wanted_ = false;
    latest_look_.reset();
    look_again_.reset();
    std::ranges::move(kicked_, std::back_inserter(kicked_before_));
    kicked_.clear();
    board_.change([](ServiceStatus& status) {
        // A paused service looks as well, so that it can tell what waits; it works only when a step begins.
        if (status.state != ServiceState::paused) {
            status.state = ServiceState::working;
            status.text.clear();
        }
        status.next_cycle.reset();
    });
    Work work;
    work.verb = "run";
    work.order = everyday_order();
    work.rate = config_.rate;
    work.prepare = watch();
    mind_readers();
    work.planned = [this](const Admission& admission) {
        asio::post(loop_, [this, again = admission.look_again, dangers = admission.dangers] {
            look_again_ = again;
            for (const std::string& danger : dangers)
                notice(danger);
        });
    };
    work.finished = [this](WorkResult result) {
        asio::post(loop_, [this, ended = std::move(result)]() mutable {
            cycle_ended(std::move(ended));
            return_free_memory(); // the service may now sleep for days
        });
    };
    worker_->submit(std::move(work));
    tick();
}

/// Before anything new begins: what was asked for while it went on is true now.
void Service::work_ended() {
    for (Pending& pending : std::exchange(pending_, {}))
        pending.peer->finish(pending.reply);
}

void Service::cycle_ended(WorkResult result) {
    if (watch_) watch_->catch_up(); // as what happened during the cycle
    cycle_running_ = false;
    work_ended();
    count(result.sr_lock);
    mind_readers();
    if (stopping_) {
        loop_.stop();
        return;
    }
    if (result.interrupted) { // the rest of it comes with the next one
        if (kicked_before_.empty())
            earlier_ = {};
        else if (result.outcome)
            earlier_ = joined(std::move(earlier_), std::move(*result.outcome));
        std::ranges::move(kicked_before_, std::back_inserter(kicked_));
        kicked_before_.clear();
        want_cycle(milliseconds{0});
        return;
    }
    board_.change([&](ServiceStatus& status) { status.last_cycle = clock_().now; });
    take_up(result);
    Outcome earlier = std::exchange(earlier_, {});
    if (kicked_before_.empty()) return;
    if (result.outcome) result.outcome = joined(std::move(earlier), std::move(*result.outcome));
    const Reply reply = [&] {
        if (result.outcome) return report_of(*result.outcome, result.policy);
        Reply failed;
        failed.failure = result.failure;
        failed.status = result.failure->status;
        return failed;
    }();
    for (const auto& peer : kicked_before_)
        peer->finish(reply);
    kicked_before_.clear();
}

void Service::count(const HoldTimes& times) {
    sr_lock_.count += times.count;
    sr_lock_.total += times.total;
    sr_lock_.longest = std::max(sr_lock_.longest, times.longest);
}

void Service::take_up(const WorkResult& result) {
    if (result.journal_set_aside) { // said loudly, nothing was changed; the next cycle begins with a new one
        notice(result.failure->text);
        journal_.reset(); // of the old file
        failures_ = 0;
        want_cycle(milliseconds{0});
        return;
    }
    if (result.failure) {
        ++failures_;
        wait_for(result.failure->text);
        sleep_until(clock_().now + std::min<UnixSeconds>(giving_way << std::min(failures_ - 1, 10U), longest_wait));
        return;
    }
    failures_ = 0;
    open_journal();
    if (result.outcome->stopped) { // not by us
        wait_for("the storage manager asked for the SR");
        sleep_until(clock_().now + giving_way);
        return;
    }
    board_.change([&](ServiceStatus& status) { status.skipped = result.outcome->skipped; });
    rest();
}

void Service::wait_for(std::string what) {
    log::info("gc", "waiting: " + what);
    board_.change([&](ServiceStatus& status) {
        status.state = ServiceState::waiting;
        status.text = std::move(what);
    });
}

/// Our own connection, as long as the service lives: beside one that may only read, no other connection of the process
/// could write (journal/journal.h). What cannot be used is set aside by the next cycle, under the SR's lock.
journal::Journal& Service::journal() {
    if (!journal_)
        journal_ = journal::Journal::open(options_.state_dir + "/" + key_ + "/journal.db",
                                          journal::Journal::Create::yes, key_);
    return *journal_;
}

void Service::open_journal() {
    try {
        journal();
    } catch (const Error& error) {
        notice(error.what());
    }
}

/// Nothing is left to do for now.
void Service::rest() {
    const UnixSeconds now = clock_().now;
    UnixSeconds next = now + config_.idle;
    std::optional<Pause> pause;
    try {
        pause = current_pause(journal(), now);
        for (const journal::Retry& retry : journal().retries())
            if (retry.next > now) next = std::min(next, retry.next);
    } catch (const Error& error) {
        notice(error.what());
        journal_.reset();
    }
    if (look_again_ && *look_again_ > now) next = std::min(next, *look_again_);
    board_.change([&](ServiceStatus& status) {
        const bool outside = std::ranges::any_of(
            status.skipped, [](const Skipped& skipped) { return skipped.reason == "outside-window"; });
        status.state = pause ? ServiceState::paused : outside ? ServiceState::waiting : ServiceState::idle;
        status.text.clear();
        if (pause)
            status.text = pause_text(*pause);
        else if (outside)
            status.text = "for the window " + config_.window.value_or(Window{}).to_text();
    });
    if (cycle_wanted_) {
        want_cycle(settling);
        next = now;
    } else {
        sleep_until(next);
    }
    tick();
}

void Service::sleep_until(UnixSeconds time) {
    board_.change([&](ServiceStatus& status) { status.next_cycle = time; });
    latest_look_.reset();
    want_cycle(std::chrono::seconds{std::max<UnixSeconds>(time - clock_().now, 0)});
}

/// Tells systemd how it goes: every second while there is work, else as rarely as the watchdog allows.
void Service::tick() {
    if (stopping_) return;
    if (std::string line = status_line(board_.status()); line != told_status_) {
        systemd::status(line);
        told_status_ = std::move(line);
    }
    const bool working = worker_->working();
    const std::uint64_t activity = working ? worker_->activity() : 0;
    const auto watchdog = systemd::watchdog_interval();
    if (watchdog && (!working || activity != last_activity_)) systemd::alive();
    last_activity_ = activity;
    if (!working && !cycle_running_ && !watchdog) return;
    const auto pause = working || cycle_running_ ? std::chrono::microseconds{std::chrono::seconds{1}} : *watchdog / 3;
    tick_.expires_after(watchdog ? std::min(pause, *watchdog / 3) : pause);
    tick_.async_wait([this](const ErrorCode& error) {
        if (!error) tick();
    });
}

} // namespace coppice
