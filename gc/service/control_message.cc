#include "gc/service/control_message.h"

#include "gc/service/json_output.h"

#include <boost/json.hpp>

namespace coppice {
namespace {

namespace json = boost::json;

constexpr int highest_status = static_cast<int>(ExitStatus::unreachable);

std::string text_in(const json::object& object, std::string_view name) {
    const json::value* const value = object.if_contains(name);
    return value != nullptr && value->is_string() ? std::string{value->get_string()} : std::string{};
}

Failure failure_from(const json::object& error, ExitStatus status) {
    return {status, text_in(error, "code"), text_in(error, "text"), text_in(error, "object")};
}

Error wrong_argument(std::string_view name, const char* wanted) {
    return Error{"read request: argument '" + std::string{name} + "' is not " + wanted};
}

/// Null counts as missing.
const json::value* argument(const json::object& request, std::string_view name) {
    const json::value* const value = request.if_contains(name);
    return value == nullptr || value->is_null() ? nullptr : value;
}

} // namespace

std::string to_line(const json::object& message) {
    return json::serialize(message);
}

json::object to_json(const Reply& reply) {
    json::object message;
    message["status"] = static_cast<int>(reply.status);
    if (!reply.document.empty()) message["document"] = reply.document;
    if (!reply.text.empty()) message["text"] = valid_utf8(reply.text);
    if (reply.failure) message["error"] = error_json(*reply.failure)["error"];
    return message;
}

Reply reply_from(const json::object& message) {
    Reply reply;
    const json::value* const status = message.if_contains("status");
    if (status == nullptr || !status->is_int64() || status->get_int64() < 0 || status->get_int64() > highest_status)
        throw Error{"read answer of the service: it has no exit status"};
    reply.status = static_cast<ExitStatus>(status->get_int64());
    if (const json::value* const document = message.if_contains("document"); document && document->is_object())
        reply.document = document->get_object();
    reply.text = text_in(message, "text");
    if (const json::value* const error = message.if_contains("error"); error && error->is_object())
        reply.failure = failure_from(error->get_object(), reply.status);
    return reply;
}

json::object parse_request(std::string_view line) {
    json::error_code trouble;
    json::value value = json::parse(line, trouble);
    if (trouble || !value.is_object()) throw Error{"read request: it is not one JSON object on one line"};
    json::object request = std::move(value.get_object());
    if (number_argument(request, "version") != control_version)
        throw Error{"read request: its version is not " + std::to_string(control_version) +
                    "; the program and the service are of different versions"};
    if (!text_argument(request, "verb")) throw Error{"read request: it has no verb"};
    return request;
}

std::optional<std::string> text_argument(const json::object& request, std::string_view name) {
    const json::value* const value = argument(request, name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) throw wrong_argument(name, "a text");
    return std::string{value->get_string()};
}

std::optional<std::int64_t> number_argument(const json::object& request, std::string_view name) {
    const json::value* const value = argument(request, name);
    if (value == nullptr) return std::nullopt;
    json::error_code trouble;
    const auto number = value->to_number<std::int64_t>(trouble);
    if (trouble) throw wrong_argument(name, "a whole number");
    return number;
}

bool flag_argument(const json::object& request, std::string_view name) {
    const json::value* const value = argument(request, name);
    if (value == nullptr) return false;
    if (!value->is_bool()) throw wrong_argument(name, "true or false");
    return value->get_bool();
}

} // namespace coppice
