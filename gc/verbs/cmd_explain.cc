#include "gc/service/explain_sr.h"
#include "gc/service/service_call.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>

namespace coppice {

void describe_explain(boost::program_options::options_description&) {}

ExitStatus run_explain(const Invocation& invocation) {
    if (invocation.arguments.size() > 2) throw UsageError{"explain takes an SR and at most one VDI"};
    const SrLocation sr = first_sr(invocation);
    const std::string vdi = invocation.arguments.size() == 2 ? invocation.arguments[1] : "";
    if (auto service = find_service(invocation, sr)) {
        auto request = new_request("explain");
        request["vdi"] = vdi;
        return print_reply(service->call(request), invocation.common.json);
    }
    return print_reply(explain_reply(explain_sr(sr, session_options(invocation), {}, nullptr, std::nullopt), vdi),
                       invocation.common.json);
}

} // namespace coppice
