#include "gc/service/work_message.h"

#include "coalesce/step_json.h"
#include "format/base/error.h"
#include "gc/service/control_client.h"
#include "gc/service/control_message.h"
#include "gc/service/json_output.h"

#include <boost/json.hpp>

namespace coppice {
namespace {

namespace json = boost::json;

std::string_view to_text(DirectionPolicy direction) {
    switch (direction) {
    case DirectionPolicy::automatic:
        return "auto";
    case DirectionPolicy::down:
        return "down";
    case DirectionPolicy::up:
        return "up";
    }
    return "";
}

DirectionPolicy direction_from(const std::string& text) {
    for (const auto direction : {DirectionPolicy::automatic, DirectionPolicy::down, DirectionPolicy::up})
        if (text == to_text(direction)) return direction;
    throw Error{"read request: unknown direction '" + text + "'"};
}

Bytes bytes_in(const json::object& object, std::string_view name) {
    return Bytes{static_cast<std::uint64_t>(number_argument(object, name).value_or(0))};
}

Step step_in(const json::object& object) {
    return step_from_json(json::serialize(object.at("step")));
}

} // namespace

json::object to_request(const WorkWish& wish) {
    json::object request = new_request(wish.verb);
    request["direction"] = to_text(wish.policy.direction);
    request["collect"] = wish.policy.collect;
    request["coalesce"] = wish.policy.coalesce;
    request["leaf_coalesce"] = wish.policy.leaf_coalesce;
    request["verify_data"] = wish.merge.verify == VerifyDepth::data;
    if (wish.rate) request["rate"] = wish.rate->count();
    json::array vdis;
    for (const std::string& vdi : wish.vdis)
        vdis.emplace_back(valid_utf8(vdi));
    request["vdis"] = std::move(vdis);
    return request;
}

WorkWish work_wish(const json::object& request) {
    WorkWish wish;
    wish.verb = text_argument(request, "verb").value_or("");
    wish.policy.direction = direction_from(text_argument(request, "direction").value_or("auto"));
    wish.policy.collect = flag_argument(request, "collect");
    wish.policy.coalesce = flag_argument(request, "coalesce");
    wish.policy.leaf_coalesce = flag_argument(request, "leaf_coalesce");
    if (flag_argument(request, "verify_data")) wish.merge.verify = VerifyDepth::data;
    if (const auto rate = number_argument(request, "rate")) {
        if (*rate <= 0) throw Error{"read request: the rate is not above 0"};
        wish.rate = Bytes{static_cast<std::uint64_t>(*rate)};
    }
    if (const json::value* const vdis = request.if_contains("vdis")) {
        if (!vdis->is_array()) throw Error{"read request: argument 'vdis' is not a list"};
        for (const json::value& vdi : vdis->get_array()) {
            if (!vdi.is_string()) throw Error{"read request: argument 'vdis' is not a list of names"};
            wish.vdis.emplace_back(vdi.get_string());
        }
    }
    return wish;
}

json::object began_json(const Step& step, std::size_t index, std::size_t count) {
    return {{"event", "began"}, {"step", to_json(step)}, {"index", index}, {"count", count}};
}

json::object advanced_json(Bytes done, Bytes total) {
    return {{"event", "advanced"}, {"done", done.count()}, {"total", total.count()}};
}

json::object ended_json(const StepResult& result) {
    return {{"event", "ended"},
            {"step", to_json(result.step)},
            {"seconds", result.seconds},
            {"copied", result.copied.count()},
            {"shared", result.shared.count()},
            {"resumed", result.resumed},
            {"error", valid_utf8(result.error)},
            {"reason", valid_utf8(result.reason)}};
}

void replay(const json::object& message, Progress& progress) {
    const std::string event = text_argument(message, "event").value_or("");
    if (event == "began") {
        progress.began(step_in(message), static_cast<std::size_t>(number_argument(message, "index").value_or(0)),
                       static_cast<std::size_t>(number_argument(message, "count").value_or(0)));
    } else if (event == "advanced") {
        progress.advanced(bytes_in(message, "done"), bytes_in(message, "total"));
    } else if (event == "ended") {
        StepResult result;
        result.step = step_in(message);
        if (const json::value* const seconds = message.if_contains("seconds"))
            result.seconds = seconds->to_number<double>();
        result.copied = bytes_in(message, "copied");
        result.shared = bytes_in(message, "shared");
        result.resumed = flag_argument(message, "resumed");
        result.error = text_argument(message, "error").value_or("");
        result.reason = text_argument(message, "reason").value_or("");
        progress.ended(result);
    }
}

} // namespace coppice
