#include "gc/base/text_output.h"
#include "gc/base/wall_time.h"
#include "gc/service/json_output.h"
#include "gc/service/service_call.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>

#include <algorithm>
#include <charconv>
#include <sstream>

namespace coppice {

namespace po = boost::program_options;
namespace json = boost::json;

void describe_history(po::options_description& options) {
    options.add_options()("since", po::value<std::string>()->value_name("TIME"),
                          "2026-01-31, 2026-01-31T12:00:00Z, or how long ago: 90s, 15m, 2h, 3d, 1w") //
        ("vdi", po::value<std::string>()->value_name("VDI"), "only what concerns this VDI")          //
        ("limit", po::value<std::string>()->default_value("1000")->value_name("N"),
         "at most so many entries of each kind");
}

namespace {

std::size_t limit_option(const std::string& text) {
    std::size_t limit = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (error != std::errc{} || end != text.data() + text.size())
        throw UsageError{"--limit takes a number of entries, not '" + text + "'"};
    return limit;
}

UnixSeconds since_option(const std::string& text) {
    try {
        if (text.find('-') == text.npos) return host_time().now - parse_duration(text);
        return parse_time(text);
    } catch (const std::invalid_argument& error) {
        throw UsageError{std::string{"--since: "} + error.what()};
    }
}

json::object operation_json(const journal::Operation& operation) {
    json::object entry;
    entry["id"] = operation.id;
    entry["op"] = operation.kind;
    entry["vdi"] = valid_utf8(operation.vdi);
    entry["into"] = operation.into.empty() ? json::value(nullptr) : json::value(valid_utf8(operation.into));
    entry["direction"] = operation.direction;
    entry["state"] = to_string(operation.state);
    entry["started"] = to_rfc3339(operation.started);
    entry["ended"] = operation.ended ? json::value(to_rfc3339(*operation.ended)) : json::value(nullptr);
    entry["bytes_done"] = operation.cursor.count();
    entry["copied_bytes"] = operation.copied_bytes.count();
    entry["shared_bytes"] = operation.shared_bytes.count();
    entry["resumed"] = operation.taken_up > 0;
    entry["error"] = operation.error.empty() ? json::value(nullptr) : json::value(valid_utf8(operation.error));
    return entry;
}

/// What is shown of a moment.
struct Line {
    UnixSeconds time;
    std::string text;
};

std::string operation_text(const journal::Operation& operation) {
    std::ostringstream text;
    text << operation.kind << ' ' << printable(operation.vdi);
    if (!operation.into.empty()) text << ' ' << operation.direction << " into " << printable(operation.into);
    text << ": " << to_string(operation.state);
    if (operation.ended) text << " after " << duration_text(*operation.ended - operation.started);
    text << ", " << human_size(operation.copied_bytes) << " copied, " << human_size(operation.shared_bytes)
         << " shared";
    if (operation.taken_up > 0) text << ", continued";
    if (!operation.error.empty()) text << ": " << printable(operation.error);
    return text.str();
}

std::string history_text(const std::vector<journal::Operation>& operations, const std::vector<journal::Event>& events) {
    std::vector<Line> lines;
    for (const journal::Operation& operation : operations)
        lines.push_back({operation.started, operation_text(operation)});
    for (const journal::Event& event : events)
        lines.push_back({event.time, event.severity + ": " + printable(event.text)});
    std::ranges::stable_sort(lines, {}, &Line::time);
    std::string text;
    for (const Line& line : lines)
        text += to_rfc3339(line.time) + "  " + line.text + '\n';
    return lines.empty() ? "nothing is remembered\n" : text;
}

} // namespace

ExitStatus run_history(const Invocation& invocation) {
    const SrLocation sr = the_sr(invocation);
    journal::HistoryQuery query;
    query.limit = limit_option(invocation.text("limit"));
    if (invocation.has("since")) query.since = since_option(invocation.text("since"));
    if (invocation.has("vdi")) query.vdi = invocation.text("vdi"); // one that is gone has a history, too
    Session session{sr, session_options(invocation), Session::Intent::look, "history"};
    std::vector<journal::Operation> operations;
    std::vector<journal::Event> events;
    if (const journal::Journal* const journal = session.journal()) {
        operations = journal->history(query);
        events = journal->events(query);
    }
    Reply reply;
    reply.document = new_document();
    reply.document["sr"] = valid_utf8(sr.name);
    json::array operation_list;
    for (const journal::Operation& operation : operations)
        operation_list.push_back(operation_json(operation));
    json::array event_list;
    for (const journal::Event& event : events)
        event_list.push_back(
            json::object{{"time", to_rfc3339(event.time)},
                         {"severity", valid_utf8(event.severity)},
                         {"vdi", event.vdi.empty() ? json::value(nullptr) : json::value(valid_utf8(event.vdi))},
                         {"text", valid_utf8(event.text)}});
    reply.document["operations"] = std::move(operation_list);
    reply.document["events"] = std::move(event_list);
    reply.text = history_text(operations, events);
    return print_reply(reply, invocation.common.json);
}

} // namespace coppice
