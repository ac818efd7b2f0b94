#include "gc/verb_support.h"

#include "coalesce/plan_text.h"
#include "gc/json_output.h"
#include "gc/progress.h"
#include "gc/stop_signals.h"
#include "gc/text_output.h"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <iostream>

namespace coppice {
namespace {

namespace json = boost::json;

/// What went wrong with the whole, or nullopt. Failures come first; what was left alone counts only where it was asked
/// for by name, or where nothing at all could be done for lack of space.
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

ExitStatus show_plan(const Invocation& invocation, const SrLocation& sr, const Policy& policy, Session& session) {
    FixedDirector director{policy};
    const Plan plan = session.plan(director);
    if (invocation.common.json) {
        json::object document = plan_json(plan);
        document["dry_run"] = true;
        document["done"] = json::array{};
        document["failed"] = json::array{};
        print_json(std::cout, document);
    } else {
        std::cout << "nothing is changed in SR " << sr.name << "; this would be done:\n" << to_text(plan);
    }
    return ExitStatus::done;
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

SessionOptions session_options(const Invocation& invocation) {
    SessionOptions options;
    options.state_dir = invocation.common.state_dir;
    options.run_dir = invocation.common.run_dir;
    options.exclusive = invocation.common.exclusive;
    return options;
}

std::set<std::string> named_vdis(const Invocation& invocation, const SrTree& tree) {
    std::set<std::string> names;
    for (std::size_t i = 1; i < invocation.arguments.size(); ++i)
        names.insert(find_vdi(tree, invocation.arguments[i]).uuid);
    return names;
}

ExitStatus status_of_reason(const std::string& reason) {
    static constexpr std::array<std::string_view, 7> later{"held",   "attached",       "retry-later", "sm-operation",
                                                           "paused", "outside-window", "activating"};
    if (reason == "failed") return ExitStatus::failed; // a call to the kernel failed: nobody refused anything
    if (reason == "not-found") return ExitStatus::not_found;
    if (reason == "no-space") return ExitStatus::no_space;
    return std::ranges::find(later, reason) != later.end() ? ExitStatus::busy : ExitStatus::refused;
}

ExitStatus act_on_sr(const Invocation& invocation, const std::string& verb, Policy policy, const MergeOptions& merge,
                     std::optional<Bytes> rate) {
    const SrLocation sr = first_sr(invocation);
    const StopSignals signals; // before the session starts threads
    const bool dry_run = invocation.flag("dry-run");
    Session session{sr, session_options(invocation), dry_run ? Session::Intent::look : Session::Intent::change, verb};
    if (invocation.arguments.size() > 1) policy.only = named_vdis(invocation, session.tree());
    if (dry_run) return show_plan(invocation, sr, policy, session);

    ProgressDisplay progress{std::cerr, progress_style()};
    FixedDirector director{policy};
    const Outcome outcome = session.run(director, merge, rate, progress, signals.token());
    const auto failure = failure_of(outcome, policy);
    if (invocation.common.json) {
        json::object document = outcome_json(outcome);
        if (failure) document["error"] = error_json(*failure)["error"];
        print_json(std::cout, document);
    } else {
        print_outcome(outcome, std::cout);
    }
    if (!failure) return ExitStatus::done;
    std::cout.flush();
    std::cerr << "coppice: " << printable(failure->text) << " (" << failure->code << ")\n";
    return failure->status;
}

} // namespace coppice
