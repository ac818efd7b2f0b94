// pause, resume, hold, release: what an administrator writes down for the service and for everybody else.
#include "gc/service/pen.h"
#include "gc/service/service_call.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>

namespace coppice {
namespace {

namespace po = boost::program_options;
namespace json = boost::json;

/// Whoever writes it down, the journal is only looked at.
ExitStatus show(const Invocation& invocation, const SrLocation& sr, const json::object& request) {
    const Session look{sr, session_options(invocation), Session::Intent::look, "dry run"};
    return print_reply(foretell(request, look.journal(), host_time().now), invocation.common.json);
}

/// The service writes it down; without one, it is done here under the same locks.
ExitStatus carry_out(const Invocation& invocation, const SrLocation& sr, const json::object& request) {
    if (invocation.flag("dry-run")) return show(invocation, sr, request);
    if (auto service = find_service(invocation, sr)) return print_reply(service->call(request), invocation.common.json);
    const std::string verb = text_argument(request, "verb").value_or("");
    Session session{sr, session_options(invocation), Session::Intent::change, verb};
    return print_reply(write_down(request, *session.journal(), host_time().now), invocation.common.json);
}

void add_until(const Invocation& invocation, json::object& request) {
    if (!invocation.has("for")) return;
    try {
        const UnixSeconds duration = parse_duration(invocation.text("for"));
        if (duration == 0) throw UsageError{"--for 0 is over at once"};
        request["until"] = host_time().now + duration;
    } catch (const std::invalid_argument& error) {
        throw UsageError{std::string{"--for: "} + error.what()};
    }
}

json::object signed_request(const Invocation& invocation, std::string_view verb) {
    json::object request = new_request(verb);
    request["owner"] = caller();
    if (invocation.has("reason")) request["reason"] = invocation.text("reason");
    add_until(invocation, request);
    return request;
}

void describe_until(po::options_description& options) {
    options.add_options()("for", po::value<std::string>()->value_name("DURATION"),
                          "90s, 15m, 2h, 3d or 1w; without it until somebody ends it") //
        ("reason", po::value<std::string>()->value_name("TEXT"), "why; shown wherever somebody asks");
}

} // namespace

void describe_pause(po::options_description& options) {
    describe_until(options);
    options.add_options()("until-danger", po::bool_switch(),
                          "go on for chains that become too deep, or when too little space is left");
    add_dry_run(options);
}

ExitStatus run_pause(const Invocation& invocation) {
    const SrLocation sr = the_sr(invocation);
    json::object request = signed_request(invocation, "pause");
    request["until_danger"] = invocation.flag("until-danger");
    return carry_out(invocation, sr, request);
}

void describe_resume(po::options_description& options) {
    add_dry_run(options);
}

ExitStatus run_resume(const Invocation& invocation) {
    return carry_out(invocation, the_sr(invocation), new_request("resume"));
}

void describe_hold(po::options_description& options) {
    describe_until(options);
    add_dry_run(options);
}

ExitStatus run_hold(const Invocation& invocation) {
    if (invocation.arguments.size() != 2) throw UsageError{"hold takes an SR and one VDI"};
    const SrLocation sr = first_sr(invocation);
    json::object request = signed_request(invocation, "hold");
    {
        // Closed before anything is written: beside a connection that may only read no other of the process can write.
        Session look{sr, session_options(invocation), Session::Intent::look, "hold"};
        request["vdi"] = find_vdi(look.tree(), invocation.arguments[1]).uuid;
    }
    return carry_out(invocation, sr, request);
}

void describe_release(po::options_description& options) {
    add_dry_run(options);
}

ExitStatus run_release(const Invocation& invocation) {
    if (invocation.arguments.size() != 2) throw UsageError{"release takes an SR and the number of a hold"};
    const std::string& text = invocation.arguments[1];
    json::object request = new_request("release");
    try {
        std::size_t used = 0;
        request["hold"] = std::stoll(text, &used);
        if (used != text.size()) throw std::invalid_argument{text};
    } catch (const std::logic_error&) { // invalid_argument or out_of_range
        throw UsageError{"'" + text + "' is no number of a hold"};
    }
    return carry_out(invocation, first_sr(invocation), request);
}

} // namespace coppice
