#include "gc/service/explain_sr.h"

#include "gc/service/json_output.h"
#include "gc/service/status_report.h"

#include <boost/json.hpp>

#include <algorithm>

namespace coppice {

SrExplanations explain_sr(const SrLocation& sr, const SessionOptions& options, const WorkOrder& order,
                          const Step* running, std::optional<UnixSeconds> next_cycle, const WallClock& clock) {
    Session session{sr, options, Session::Intent::look, "explain"};
    SrExplanations result;
    JournalDirector director{order, session.journal(), false, clock,
                             [&result](const Admission& admission) { result.dangers = admission.dangers; }};
    Observation seen;
    result.plan = session.plan(director, &seen);
    Situation situation;
    situation.running = running;
    situation.next_cycle = next_cycle;
    result.vdis = explain_with_journal(seen, result.plan, situation, session.journal(), clock().now);
    result.tree = std::move(seen.tree);
    return result;
}

Reply explain_reply(const SrExplanations& explanations, const std::string& vdi) {
    if (!vdi.empty()) {
        const std::string uuid = find_vdi(explanations.tree, vdi).uuid;
        return explanation_reply(*std::ranges::find(explanations.vdis, uuid, &Explanation::vdi));
    }
    Reply reply;
    reply.document = new_document();
    boost::json::array all;
    for (const Explanation& explanation : explanations.vdis) {
        boost::json::object entry = explanation_json(explanation);
        entry.erase("schema");
        all.push_back(std::move(entry));
        reply.text += explanation_reply(explanation).text;
    }
    reply.document["vdis"] = std::move(all);
    return reply;
}

} // namespace coppice
