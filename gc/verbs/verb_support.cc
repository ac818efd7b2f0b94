#include "gc/verbs/verb_support.h"

#include "coalesce/plan_text.h"
#include "gc/base/text_output.h"
#include "gc/cycle/journal_director.h"
#include "gc/service/json_output.h"
#include "gc/service/progress.h"
#include "gc/service/service_call.h"
#include "gc/service/stop_signals.h"
#include "gc/service/work_report.h"

#include <boost/json.hpp>

#include <iostream>
#include <unistd.h>

namespace coppice {
namespace {

namespace json = boost::json;

WorkOrder order_of(const Policy& policy) {
    WorkOrder order;
    order.policy = policy;
    return order;
}

ExitStatus show_plan(const Invocation& invocation, const SrLocation& sr, Policy policy, const SessionOptions& options) {
    Session session{sr, options, Session::Intent::look, "plan"};
    if (invocation.arguments.size() > 1) policy.only = find_vdis(session.tree(), named_vdis(invocation));
    JournalDirector director{order_of(policy), session.journal(), false};
    const Plan plan = session.plan(director);
    if (invocation.common.json) {
        json::object document = plan_json(plan);
        document["dry_run"] = true;
        document["done"] = json::array{};
        document["failed"] = json::array{};
        print_json(std::cout, document);
    } else {
        std::cout << "nothing is changed in SR " << printable(sr.name) << "; this would be done:\n" << to_text(plan);
    }
    return ExitStatus::done;
}

Reply work_here(const SrLocation& sr, const SessionOptions& options, const WorkWish& wish) {
    const StopSignals signals; // before the session starts threads
    Session session{sr, options, Session::Intent::change, wish.verb};
    Policy policy = wish.policy;
    if (!wish.vdis.empty()) policy.only = find_vdis(session.tree(), wish.vdis);
    JournalDirector director{order_of(policy), session.journal(), true};
    ProgressDisplay progress{std::cerr, progress_style()};
    return report_of(session.run(director, wish.merge, wish.rate, progress, signals.token()), policy);
}

} // namespace

SrLocation first_sr(const Invocation& invocation) {
    if (invocation.arguments.empty()) throw UsageError{"an SR is missing: its UUID, or a directory"};
    return locate_sr(invocation.arguments.front());
}

SrLocation the_sr(const Invocation& invocation) {
    if (invocation.arguments.size() > 1)
        throw UsageError{"only one SR is expected, not also '" + invocation.arguments[1] + "'"};
    return first_sr(invocation);
}

std::optional<Bytes> rate_option(const Invocation& invocation) {
    if (!invocation.has("rate")) return std::nullopt;
    const Bytes rate{parse_size(invocation.text("rate"), "rate")};
    if (rate == 0_B) throw UsageError{"--rate 0 would never end"};
    return rate;
}

namespace {

/// XAPI may just not be up: where sm is installed, it will be.
bool is_host_of_xapi() {
    return ::access("/var/lib/xcp/xapi", F_OK) == 0 || ::access("/opt/xensource/sm", F_OK) == 0;
}

} // namespace

SessionOptions session_options(const Invocation& invocation) {
    SessionOptions options;
    options.state_dir = invocation.common.state_dir;
    options.run_dir = invocation.common.run_dir;
    options.exclusive = invocation.common.exclusive;
    options.discard = invocation.flag("discard");
    const bool with_xapi = invocation.common.xapi.empty() && is_host_of_xapi();
    options.snapshots = with_xapi ? Snapshots::left_to_sm : Snapshots::replayed;
    return options;
}

std::vector<std::string> named_vdis(const Invocation& invocation) {
    return {invocation.arguments.begin() + 1, invocation.arguments.end()};
}

ExitStatus act_on_sr(const Invocation& invocation, WorkWish wish) {
    const SrLocation sr = first_sr(invocation);
    const SessionOptions options = session_options(invocation);
    if (invocation.flag("dry-run")) return show_plan(invocation, sr, wish.policy, options);
    wish.vdis = named_vdis(invocation);
    if (auto service = find_service(invocation, sr))
        return print_reply(let_work(*service, wish), invocation.common.json);
    return print_reply(work_here(sr, options, wish), invocation.common.json);
}

} // namespace coppice
