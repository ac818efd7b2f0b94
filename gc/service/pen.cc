#include "gc/service/pen.h"

#include "format/base/error.h"
#include "gc/base/text_output.h"
#include "gc/cycle/journal_director.h"
#include "gc/service/json_output.h"

#include <boost/json.hpp>

#include <algorithm>

namespace coppice {
namespace {

namespace json = boost::json;

std::string until_text(const std::optional<UnixSeconds>& until, const char* without) {
    return until ? "until " + to_rfc3339(*until) : std::string{without};
}

json::value time_or_null(const std::optional<UnixSeconds>& time) {
    return time ? json::value(to_rfc3339(*time)) : json::value(nullptr);
}

Pause pause_in(const json::object& request) {
    Pause pause;
    pause.until = number_argument(request, "until");
    pause.until_danger = flag_argument(request, "until_danger");
    pause.owner = text_argument(request, "owner").value_or("");
    pause.reason = text_argument(request, "reason").value_or("");
    return pause;
}

/// Without an id.
journal::Hold hold_in(const json::object& request, UnixSeconds now) {
    journal::Hold hold;
    hold.vdi = text_argument(request, "vdi").value_or("");
    if (hold.vdi.empty()) throw Error{"read request: a hold without a VDI"};
    hold.owner = text_argument(request, "owner").value_or("");
    hold.reason = text_argument(request, "reason").value_or("");
    hold.expires = number_argument(request, "until");
    hold.created = now;
    return hold;
}

std::int64_t released_in(const json::object& request) {
    const auto id = number_argument(request, "hold");
    if (!id) throw Error{"read request: which hold is to be released is missing"};
    return *id;
}

NotFound no_such_hold(std::int64_t id) {
    return {"hold " + std::to_string(id), "no such hold; 'coppice status' lists them"};
}

std::string pause_until(const Pause& pause) {
    return until_text(pause.until, "until somebody resumes it");
}

std::string hold_until(const journal::Hold& hold) {
    return until_text(hold.expires, "until it is released");
}

Reply paused_reply(const Pause& pause) {
    Reply reply;
    reply.document = new_document();
    reply.document["paused"] = true;
    reply.document["until"] = time_or_null(pause.until);
    reply.document["until_danger"] = pause.until_danger;
    reply.text = "paused " + pause_until(pause) + '\n';
    return reply;
}

Reply resumed_reply(bool was_paused) {
    Reply reply;
    reply.document = new_document();
    reply.document["paused"] = false;
    reply.text = was_paused ? "resumed\n" : "was not paused\n";
    return reply;
}

Reply held_reply(const journal::Hold& hold, const std::string& name) {
    Reply reply;
    reply.document = new_document();
    reply.document["hold"] = hold_json(hold);
    reply.text = name + " on " + printable(hold.vdi) + " " + hold_until(hold) + '\n';
    return reply;
}

Reply released_reply(std::int64_t id) {
    Reply reply;
    reply.document = new_document();
    reply.document["released"] = id;
    reply.text = "hold " + std::to_string(id) + " released\n";
    return reply;
}

Reply write_pause(const json::object& request, journal::Journal& journal) {
    const Pause pause = pause_in(request);
    set_pause(journal, pause);
    journal.record_event("notice", "",
                         "paused by " + pause.owner + " " + pause_until(pause) +
                             (pause.reason.empty() ? "" : ": " + pause.reason));
    return paused_reply(pause);
}

Reply write_resume(journal::Journal& journal, UnixSeconds now) {
    const bool was_paused = current_pause(journal, now).has_value();
    set_pause(journal, std::nullopt);
    if (was_paused) journal.record_event("notice", "", "resumed");
    return resumed_reply(was_paused);
}

Reply write_hold(const json::object& request, journal::Journal& journal, UnixSeconds now) {
    journal::Hold hold = hold_in(request, now);
    hold.id = journal.add_hold(hold);
    const std::string name = "hold " + std::to_string(hold.id);
    journal.record_event("notice", hold.vdi, name + " by " + hold.owner + " " + hold_until(hold));
    return held_reply(hold, name);
}

Reply write_release(const json::object& request, journal::Journal& journal) {
    const std::int64_t id = released_in(request);
    if (!journal.release_hold(id)) throw no_such_hold(id);
    journal.record_event("notice", "", "hold " + std::to_string(id) + " released");
    return released_reply(id);
}

bool is_there(const journal::Journal* journal, std::int64_t hold, UnixSeconds now) {
    if (journal == nullptr) return false;
    const auto holds = journal->holds(now);
    return std::ranges::find(holds, hold, &journal::Hold::id) != holds.end();
}

} // namespace

bool is_pen_verb(std::string_view verb) {
    return verb == "pause" || verb == "resume" || verb == "hold" || verb == "release";
}

Reply write_down(const json::object& request, journal::Journal& journal, UnixSeconds now) {
    const std::string verb = text_argument(request, "verb").value_or("");
    if (verb == "pause") return write_pause(request, journal);
    if (verb == "resume") return write_resume(journal, now);
    if (verb == "hold") return write_hold(request, journal, now);
    return write_release(request, journal);
}

Reply foretell(const json::object& request, const journal::Journal* journal, UnixSeconds now) {
    const std::string verb = text_argument(request, "verb").value_or("");
    Reply reply;
    if (verb == "pause") {
        reply = paused_reply(pause_in(request));
    } else if (verb == "resume") {
        reply = resumed_reply(journal != nullptr && current_pause(*journal, now));
    } else if (verb == "hold") {
        reply = held_reply(hold_in(request, now), "hold");
        reply.document["hold"].as_object()["id"] = nullptr; // it gets one when it is made
    } else {
        const std::int64_t id = released_in(request);
        if (!is_there(journal, id, now)) throw no_such_hold(id);
        reply = released_reply(id);
    }
    reply.document["dry_run"] = true;
    reply.text = "nothing is changed; this would be said: " + reply.text;
    return reply;
}

json::object hold_json(const journal::Hold& hold) {
    return {{"id", hold.id},
            {"vdi", valid_utf8(hold.vdi)},
            {"owner", valid_utf8(hold.owner)},
            {"reason", valid_utf8(hold.reason)},
            {"since", to_rfc3339(hold.created)},
            {"until", time_or_null(hold.expires)}};
}

std::string hold_line(const journal::Hold& hold) {
    return "  hold " + std::to_string(hold.id) + " on " + printable(hold.vdi) + " by " + printable(hold.owner) + " " +
           until_text(hold.expires, "until it is released") +
           (hold.reason.empty() ? "" : ": " + printable(hold.reason)) + '\n';
}

} // namespace coppice
