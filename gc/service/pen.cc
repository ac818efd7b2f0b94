#include "gc/service/pen.h"

#include "format/base/error.h"
#include "gc/base/text_output.h"
#include "gc/cycle/journal_director.h"
#include "gc/service/json_output.h"

#include <boost/json.hpp>

namespace coppice {
namespace {

namespace json = boost::json;

std::string until_text(const std::optional<UnixSeconds>& until, const char* without) {
    return until ? "until " + to_rfc3339(*until) : std::string{without};
}

json::value time_or_null(const std::optional<UnixSeconds>& time) {
    return time ? json::value(to_rfc3339(*time)) : json::value(nullptr);
}

Reply write_pause(const json::object& request, journal::Journal& journal) {
    Pause pause;
    pause.until = number_argument(request, "until");
    pause.until_danger = flag_argument(request, "until_danger");
    pause.owner = text_argument(request, "owner").value_or("");
    pause.reason = text_argument(request, "reason").value_or("");
    set_pause(journal, pause);
    const std::string until = until_text(pause.until, "until somebody resumes it");
    journal.record_event("notice", "",
                         "paused by " + pause.owner + " " + until + (pause.reason.empty() ? "" : ": " + pause.reason));
    Reply reply;
    reply.document = new_document();
    reply.document["paused"] = true;
    reply.document["until"] = time_or_null(pause.until);
    reply.document["until_danger"] = pause.until_danger;
    reply.text = "paused " + until + '\n';
    return reply;
}

Reply write_resume(journal::Journal& journal, UnixSeconds now) {
    const bool was_paused = current_pause(journal, now).has_value();
    set_pause(journal, std::nullopt);
    if (was_paused) journal.record_event("notice", "", "resumed");
    Reply reply;
    reply.document = new_document();
    reply.document["paused"] = false;
    reply.text = was_paused ? "resumed\n" : "was not paused\n";
    return reply;
}

Reply write_hold(const json::object& request, journal::Journal& journal, UnixSeconds now) {
    journal::Hold hold;
    hold.vdi = text_argument(request, "vdi").value_or("");
    if (hold.vdi.empty()) throw Error{"read request: a hold without a VDI"};
    hold.owner = text_argument(request, "owner").value_or("");
    hold.reason = text_argument(request, "reason").value_or("");
    hold.expires = number_argument(request, "until");
    hold.created = now;
    hold.id = journal.add_hold(hold);
    const std::string until = until_text(hold.expires, "until it is released");
    journal.record_event("notice", hold.vdi, "hold " + std::to_string(hold.id) + " by " + hold.owner + " " + until);
    Reply reply;
    reply.document = new_document();
    reply.document["hold"] = hold_json(hold);
    reply.text = "hold " + std::to_string(hold.id) + " on " + printable(hold.vdi) + " " + until + '\n';
    return reply;
}

Reply write_release(const json::object& request, journal::Journal& journal) {
    const auto id = number_argument(request, "hold");
    if (!id) throw Error{"read request: which hold is to be released is missing"};
    if (!journal.release_hold(*id))
        throw NotFound{"hold " + std::to_string(*id), "no such hold; 'coppice status' lists them"};
    journal.record_event("notice", "", "hold " + std::to_string(*id) + " released");
    Reply reply;
    reply.document = new_document();
    reply.document["released"] = *id;
    reply.text = "hold " + std::to_string(*id) + " released\n";
    return reply;
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
