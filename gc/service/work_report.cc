#include "gc/service/work_report.h"

#include "coalesce/plan_text.h"
#include "gc/base/text_output.h"
#include "gc/service/json_output.h"
#include "gc/service/progress.h"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <sstream>

namespace coppice {
namespace {

std::optional<Failure> failure_of(const Outcome& outcome, const Policy& policy) {
    if (!outcome.failed.empty()) {
        const StepResult& first = outcome.failed.front();
        const std::string code = first.reason.empty() ? "failed" : first.reason;
        return Failure{first.reason.empty() ? ExitStatus::failed : status_of_reason(first.reason), code, first.error,
                       first.step.vdi};
    }
    if (outcome.stopped)
        return Failure{ExitStatus::busy, "retry-later",
                       "stopped on request; what was done is kept and will be continued", ""};
    if (!outcome.done.empty()) return std::nullopt;
    for (const Skipped& skipped : outcome.skipped)
        if (policy.only.contains(skipped.vdi) || (policy.only.empty() && skipped.reason == "no-space"))
            return Failure{status_of_reason(skipped.reason), skipped.reason, skipped.vdi + ": " + skipped.text,
                           skipped.vdi};
    return std::nullopt;
}

void print_outcome(const Outcome& outcome, std::ostream& out) {
    for (const StepResult& result : outcome.done) {
        out << "done: " << printable(step_title(result.step)) << ", " << human_size(result.copied) << " copied, "
            << human_size(result.shared) << " shared" << (result.resumed ? ", continued" : "") << '\n';
    }
    for (const StepResult& result : outcome.failed)
        out << "failed: " << printable(step_title(result.step)) << ": " << printable(result.error) << '\n';
    for (const Skipped& skipped : outcome.skipped)
        out << "left alone: " << printable(skipped.vdi) << " (" << skipped.reason << "): " << printable(skipped.text)
            << '\n';
    if (outcome.done.empty() && outcome.failed.empty()) out << "nothing to do\n";
}

void add_failure(Reply& reply, const Failure& failure) {
    reply.failure = failure;
    reply.status = failure.status;
    reply.document["error"] = error_json(failure)["error"];
}

} // namespace

ExitStatus status_of_reason(const std::string& reason) {
    static constexpr std::array<std::string_view, 7> later{"held",   "attached",       "retry-later", "sm-operation",
                                                           "paused", "outside-window", "activating"};
    if (reason == "failed") return ExitStatus::failed; // a call to the kernel failed: nobody refused anything
    if (reason == "not-found") return ExitStatus::not_found;
    if (reason == "no-space") return ExitStatus::no_space;
    return std::ranges::find(later, reason) != later.end() ? ExitStatus::busy : ExitStatus::refused;
}

Reply report_of(const Outcome& outcome, const Policy& policy) {
    Reply reply;
    reply.document = outcome_json(outcome);
    std::ostringstream text;
    print_outcome(outcome, text);
    reply.text = text.str();
    if (const auto failure = failure_of(outcome, policy)) add_failure(reply, *failure);
    return reply;
}

Reply report_of(const Outcome& outcome, const Policy& policy, const Failure& failure) {
    Reply reply = report_of(outcome, policy);
    add_failure(reply, failure);
    return reply;
}

} // namespace coppice
