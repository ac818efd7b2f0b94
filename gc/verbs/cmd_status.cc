#include "coalesce/step_json.h"
#include "gc/base/text_output.h"
#include "gc/service/explain_sr.h"
#include "gc/service/json_output.h"
#include "gc/service/pen.h"
#include "gc/service/service_call.h"
#include "gc/service/status_report.h"
#include "gc/service/stop_signals.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>

#include <condition_variable>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <unistd.h>

namespace coppice {

namespace po = boost::program_options;
namespace json = boost::json;

void describe_status(po::options_description& options) {
    options.add_options()("watch", po::bool_switch(), "show it again every second, until interrupted");
}

namespace {

/// What another process, or the last one, has left in the journal as unfinished.
std::optional<RunningStep> unfinished_step(const journal::Journal& journal) {
    const auto operations = journal.unfinished();
    if (operations.empty()) return std::nullopt;
    const journal::Operation& operation = operations.back();
    RunningStep running;
    running.step = step_from_json(operation.step);
    running.done = operation.cursor;
    running.total = running.step.copy_bytes;
    return running;
}

/// Without a service: who holds the lock, what the journal knows, and what a look at the SR shows.
Reply look_here(const Invocation& invocation, const SrLocation& sr) {
    const UnixSeconds now = host_time().now;
    const SessionOptions options = session_options(invocation);
    ServiceStatus status;
    Reply reply;
    json::array holds;
    std::string hold_lines;
    const auto worker = who_works(invocation, sr);
    {
        Session session{sr, options, Session::Intent::look, "status"};
        if (const journal::Journal* const journal = session.journal()) {
            if (worker) status.operation = unfinished_step(*journal);
            if (const auto pause = current_pause(*journal, now)) {
                status.state = ServiceState::paused;
                status.text = pause_text(*pause);
            }
            for (const journal::Hold& hold : journal->holds(now)) {
                holds.push_back(hold_json(hold));
                hold_lines += hold_line(hold);
            }
        }
    }
    if (worker) {
        status.state = ServiceState::working;
        status.text = *worker;
    } else {
        const SrExplanations seen = explain_sr(sr, options, {}, nullptr, std::nullopt);
        status.skipped = seen.plan.skipped;
        status.notices = seen.dangers;
    }
    reply.document = status_json(sr.name, status);
    reply.document["service"] = nullptr;
    reply.document["holds"] = std::move(holds);
    reply.text = status_text(sr.name, status, now) + "  no service runs for this SR\n" + hold_lines;
    return reply;
}

Reply status_of(const Invocation& invocation, const std::string& name) {
    const SrLocation sr = locate_sr(name);
    if (auto service = find_service(invocation, sr)) return service->call(new_request("status"));
    return look_here(invocation, sr);
}

/// Of every service that listens in the run directory.
Reply status_of_all(const Invocation& invocation) {
    Reply reply;
    reply.document = new_document();
    json::array services;
    std::error_code missing; // no directory: no service
    std::vector<std::string> sockets;
    for (const auto& entry : std::filesystem::directory_iterator{invocation.common.run_dir, missing})
        if (entry.path().extension() == ".sock") sockets.push_back(entry.path());
    std::ranges::sort(sockets);
    for (const std::string& socket : sockets) {
        try {
            auto service = ControlClient::connect(socket);
            if (!service) continue;
            Reply one = service->call(new_request("status"));
            one.document.erase("schema");
            services.push_back(std::move(one.document));
            reply.text += one.text;
        } catch (const CommandFailed& error) { // one that hangs hides no other
            reply.failure = error.failure();
            reply.failure->object = socket;
            reply.status = reply.failure->status;
            reply.text += printable(socket) + ": " + reply.failure->text + '\n';
        }
    }
    if (services.empty() && !reply.failure) reply.text = "no service runs on this host\n";
    reply.document["services"] = std::move(services);
    if (reply.failure) reply.document["error"] = error_json(*reply.failure)["error"];
    return reply;
}

Reply ask(const Invocation& invocation) {
    return invocation.arguments.empty() ? status_of_all(invocation)
                                        : status_of(invocation, invocation.arguments.front());
}

/// On a terminal the screen is renewed; elsewhere, and as JSON, one report follows the other where something changed.
ExitStatus watch(const Invocation& invocation) {
    const StopSignals signals;
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock held{mutex};
    const bool redraw = !invocation.common.json && ::isatty(STDOUT_FILENO) == 1;
    std::string last;
    while (!signals.token().stop_requested()) {
        const Reply reply = ask(invocation);
        const std::string shown = invocation.common.json ? to_line(reply.document) + '\n' : reply.text;
        if (redraw)
            std::cout << "\x1b[H\x1b[2J" << shown << std::flush;
        else if (shown != last)
            std::cout << shown << std::flush;
        if (!std::cout) break;
        last = shown;
        wake.wait_for(held, signals.token(), std::chrono::seconds{1}, [] { return false; });
    }
    return ExitStatus::done;
}

} // namespace

ExitStatus run_status(const Invocation& invocation) {
    if (invocation.arguments.size() > 1) throw UsageError{"status takes one SR, or none for all services of this host"};
    if (invocation.flag("watch")) return watch(invocation);
    return print_reply(ask(invocation), invocation.common.json);
}

} // namespace coppice
