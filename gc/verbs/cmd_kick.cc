#include "gc/service/service_call.h"
#include "gc/service/stop_signals.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/program_options.hpp>

#include <sys/socket.h>

namespace coppice {

namespace po = boost::program_options;

void describe_kick(po::options_description& options) {
    options.add_options()("wait", po::bool_switch(),
                          "return when the cycle has ended; if told to stop, let it give way");
}

namespace {

/// Asks the service to give way, over a connection of its own.
void let_give_way(const Invocation& invocation, const SrLocation& sr) {
    if (auto service = find_service(invocation, sr)) service->call(new_request("yield"));
}

} // namespace

ExitStatus run_kick(const Invocation& invocation) {
    const SrLocation sr = the_sr(invocation);
    const StopSignals signals; // before anything waits
    auto service = find_service(invocation, sr);
    if (!service)
        throw CommandFailed{{ExitStatus::unreachable, "service-unreachable", "no service runs for this SR", sr.name}};
    auto request = new_request("kick");
    request["wait"] = invocation.flag("wait");
    // A signal ends the waiting by ending the connection.
    const int descriptor = service->descriptor();
    const std::stop_callback hang_up{signals.token(), [descriptor] { ::shutdown(descriptor, SHUT_RDWR); }};
    try {
        return print_reply(service->call(request), invocation.common.json);
    } catch (const CommandFailed&) {
        if (!signals.token().stop_requested()) throw;
        let_give_way(invocation, sr);
        throw CommandFailed{{ExitStatus::busy, "retry-later", "told to stop; the service gives way", sr.name}};
    }
}

} // namespace coppice
