#include "gc/service/metrics.h"
#include "gc/service/service_call.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/program_options.hpp>

namespace coppice {

void describe_metrics(boost::program_options::options_description&) {}

ExitStatus run_metrics(const Invocation& invocation) {
    const SrLocation sr = the_sr(invocation);
    if (auto service = find_service(invocation, sr))
        return print_reply(service->call(new_request("metrics")), invocation.common.json);
    return print_reply(metrics_reply(sr, session_options(invocation), {}, std::nullopt, std::nullopt),
                       invocation.common.json);
}

} // namespace coppice
