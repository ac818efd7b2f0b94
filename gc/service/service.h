// The long-running service of one SR: when to run a cycle, and what a request changes. docs/design/service.md.
//
// One event loop in the thread that calls run(); one worker thread for everything that touches the SR.
#pragma once

#include "format/base/unique_fd.h"
#include "gc/service/control_server.h"
#include "gc/service/service_config.h"
#include "gc/service/sr_watch.h"
#include "gc/service/work_report.h"
#include "gc/service/worker.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace coppice {

/// The lock that says that a service for `key` runs; released by the kernel when the process ends.
class ServiceLock {
public:
    /// Throws Busy naming the pid of the one that runs.
    ServiceLock(const std::string& run_dir, const std::string& key);

private:
    UniqueFd file_;
};

std::string control_socket(const std::string& run_dir, const std::string& key);

class Service {
public:
    using ConfigSource = std::function<ServiceConfig()>;

    /// `sr` is looked up anew for every cycle. `load` gives the set-up, now and on every reload.
    Service(std::string sr, const SrLocation& location, SessionOptions options, ConfigSource load,
            WallClock clock = &host_time);
    ~Service();

    /// Until SIGTERM or SIGINT. SIGHUP reloads.
    void run();

private:
    /// For how long the service gives way when it is asked to, unless somebody kicks.
    static constexpr UnixSeconds yielding = 60;

    // service.cc: when cycles run
    void on_signal(int signal);
    void stop();
    void reload();
    void want_cycle(std::chrono::milliseconds delay);
    void begin_cycle();
    void cycle_ended(WorkResult result);
    void take_up(const WorkResult& result);
    void count(const HoldTimes& times);
    void withdraw_notes() const;
    void work_ended();
    void wait_for(std::string what);
    void rest();
    void sleep_until(UnixSeconds time);
    void tick();
    std::function<void()> watch();
    void mind_readers();
    void open_journal();
    void notice(const std::string& text);
    WorkOrder everyday_order() const;

    // service_requests.cc: what is asked for
    void handle(const boost::json::object& request, const std::shared_ptr<Conversation>& peer);
    void answer_status(const std::shared_ptr<Conversation>& peer);
    void answer_explain(const boost::json::object& request, std::shared_ptr<Conversation> peer);
    void answer_work(const boost::json::object& request, std::shared_ptr<Conversation> peer);
    /// `earlier` is what the order has done before it was interrupted.
    void carry_out(Work work, std::shared_ptr<Conversation> peer, Outcome earlier = {});
    void order_ended(const Work& work, const std::shared_ptr<Conversation>& peer, Outcome earlier, WorkResult result);
    void answer_kick(const boost::json::object& request, std::shared_ptr<Conversation> peer);
    void answer_metrics(std::shared_ptr<Conversation> peer);
    void answer_yield(const std::shared_ptr<Conversation>& peer);
    void answer_pen(const boost::json::object& request, const std::shared_ptr<Conversation>& peer);
    void answer_when_let_go(Reply reply, std::shared_ptr<Conversation> peer);
    /// Throws what keeps it from being used.
    journal::Journal& journal();
    void look(std::function<Reply()> question, std::shared_ptr<Conversation> peer);

    std::string sr_;
    std::string name_;
    std::string key_;
    SrLocation location_;
    std::string directory_;
    SessionOptions options_;
    ConfigSource load_;
    WallClock clock_;
    ServiceConfig config_;
    ServiceLock lock_;

    boost::asio::io_context loop_;
    boost::asio::signal_set signals_{loop_};
    boost::asio::steady_timer wake_{loop_};
    boost::asio::steady_timer tick_{loop_};
    boost::asio::steady_timer deadline_{loop_};
    StatusBoard board_;
    std::unique_ptr<journal::Journal> journal_;
    std::unique_ptr<SrWatch> watch_;
    std::unique_ptr<ControlServer> server_;
    boost::asio::thread_pool lookers_{1};
    std::unique_ptr<Worker> worker_;

    bool stopping_ = false;
    bool cycle_running_ = false;
    bool cycle_wanted_ = false;
    std::optional<UnixSeconds> yielding_until_;
    std::optional<std::chrono::steady_clock::time_point> latest_look_; ///< however much goes on in the SR
    std::optional<UnixSeconds> look_again_;                            ///< when the last admission changes by itself
    unsigned orders_ = 0;                                              ///< of administrators, queued or running
    unsigned looks_ = 0;                                               ///< questions that read the SR just now
    unsigned failures_ = 0;                                            ///< cycles in a row that could not begin
    HoldTimes sr_lock_;                                                ///< since the start
    std::uint64_t last_activity_ = 0;
    std::string told_status_;                                  ///< to systemd
    std::vector<std::shared_ptr<Conversation>> kicked_;        ///< wait for the next cycle to end
    std::vector<std::shared_ptr<Conversation>> kicked_before_; ///< wait for the running one
    Outcome earlier_;                                          ///< of interrupted cycles that somebody waits for

    /// An answer that is true as soon as the work under way has ended.
    struct Pending {
        std::shared_ptr<Conversation> peer;
        Reply reply;
        std::unique_ptr<boost::asio::steady_timer> deadline;
    };
    std::vector<Pending> pending_;
};

} // namespace coppice
