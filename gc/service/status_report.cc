#include "gc/service/status_report.h"

#include "coalesce/explain_text.h"
#include "coalesce/plan_text.h"
#include "coalesce/step_json.h"
#include "gc/base/text_output.h"
#include "gc/base/wall_time.h"
#include "gc/service/json_output.h"
#include "gc/service/progress.h"

#include <boost/json.hpp>

#include <sstream>

namespace coppice {
namespace {

namespace json = boost::json;

json::value time_or_null(const std::optional<UnixSeconds>& time) {
    return time ? json::value(to_rfc3339(*time)) : json::value(nullptr);
}

json::value operation_json(const std::optional<RunningStep>& running) {
    if (!running) return nullptr;
    json::object result = to_json(running->step);
    result["number"] = running->number;
    result["count"] = running->count;
    result["bytes_done"] = running->done.count();
    result["bytes_total"] = running->total.count();
    result["rate"] = running->rate();
    const auto eta = running->eta_seconds();
    result["eta_seconds"] = eta ? json::value(*eta) : json::value(nullptr);
    return result;
}

std::string operation_text(const RunningStep& running) {
    std::ostringstream text;
    text << printable(step_title(running.step));
    if (running.count > 0) text << " (step " << running.number << " of " << running.count << ")";
    text << ", " << human_size(running.done) << " of " << human_size(running.total);
    if (running.rate() > 0) text << ", " << human_size(Bytes{running.rate()}) << "/s";
    if (const auto eta = running.eta_seconds()) text << ", " << duration_text(*eta) << " left";
    return text.str();
}

} // namespace

json::object status_json(const std::string& sr, const ServiceStatus& status) {
    json::object document = new_document();
    document["sr"] = valid_utf8(sr);
    document["state"] = to_string(status.state);
    document["text"] = status.text.empty() ? json::value(nullptr) : json::value(valid_utf8(status.text));
    document["operation"] = operation_json(status.operation);
    document["skipped"] = skipped_json(status.skipped);
    json::array notices;
    for (const std::string& notice : status.notices)
        notices.emplace_back(valid_utf8(notice));
    document["notices"] = std::move(notices);
    document["last_cycle"] = time_or_null(status.last_cycle);
    document["next_cycle"] = time_or_null(status.next_cycle);
    return document;
}

std::string status_line(const ServiceStatus& status) {
    std::string line{to_string(status.state)};
    if (status.operation)
        line += ": " + operation_text(*status.operation);
    else if (!status.text.empty())
        line += ": " + printable(status.text);
    return line;
}

std::string status_text(const std::string& sr, const ServiceStatus& status, UnixSeconds now) {
    std::ostringstream text;
    text << "SR " << printable(sr) << ": " << status_line(status) << '\n';
    for (const std::string& notice : status.notices)
        text << "  note: " << printable(notice) << '\n';
    if (status.last_cycle) text << "  last looked at " << duration_text(now - *status.last_cycle) << " ago\n";
    if (status.next_cycle && *status.next_cycle > now)
        text << "  looks again in " << duration_text(*status.next_cycle - now) << " at the latest\n";
    for (const Skipped& skipped : status.skipped)
        text << "  left alone: " << printable(skipped.vdi) << " (" << skipped.reason << "): " << printable(skipped.text)
             << '\n';
    return text.str();
}

json::object explanation_json(const Explanation& explanation) {
    json::object document = new_document();
    document["vdi"] = valid_utf8(explanation.vdi);
    document["verdict"] = to_string(explanation.verdict);
    document["reason"] = explanation.reason;
    document["text"] = valid_utf8(explanation.text);
    document["since"] = time_or_null(explanation.since);
    json::array holders;
    for (const Holder& holder : explanation.holders)
        holders.push_back(json::object{{"kind", holder.kind},
                                       {"name", valid_utf8(holder.name)},
                                       {"pid", holder.pid == 0 ? json::value(nullptr) : json::value(holder.pid)},
                                       {"text", valid_utf8(holder.text)}});
    document["holders"] = std::move(holders);
    document["unblocks"] =
        explanation.unblocks.empty() ? json::value(nullptr) : json::value(valid_utf8(explanation.unblocks));
    document["next"] = explanation.next.empty() ? json::value(nullptr) : json::value(valid_utf8(explanation.next));
    return document;
}

Reply explanation_reply(const Explanation& explanation) {
    Reply reply;
    reply.document = explanation_json(explanation);
    reply.text = to_text(explanation);
    return reply;
}

} // namespace coppice
