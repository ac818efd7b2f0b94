#include "coalesce/step_json.h"

#include "format/base/error.h"

#include <boost/json.hpp>

namespace coppice {
namespace {

namespace json = boost::json;

json::value optional_text(const std::optional<std::string>& text) {
    return text ? json::value(*text) : json::value(nullptr);
}

std::optional<std::string> text_or_null(const json::value& value) {
    if (value.is_null()) return std::nullopt;
    return std::string{value.as_string()};
}

std::vector<std::string> texts(const json::value& value) {
    std::vector<std::string> result;
    for (const json::value& text : value.as_array())
        result.emplace_back(text.as_string());
    return result;
}

template <class Enum>
Enum one_of(const json::value& value, std::initializer_list<Enum> choices) {
    for (const Enum choice : choices)
        if (to_string(choice) == value.as_string()) return choice;
    throw Error{"recorded step: unknown word " + std::string{value.as_string()}};
}

Bytes bytes(const json::value& value) {
    return Bytes{value.to_number<std::uint64_t>()};
}

} // namespace

json::object to_json(const Step& step) {
    json::object result;
    result["op"] = to_string(step.kind);
    result["vdi"] = step.vdi;
    result["into"] = optional_text(step.into);
    result["direction"] = to_string(step.direction);
    result["copy_bytes"] = step.copy_bytes.count();
    result["space_needed"] = step.space_needed.count();
    result["space_freed"] = step.space_freed.count();
    result["pause_ms"] = step.pause_ms ? json::value(*step.pause_ms) : json::value(nullptr);
    result["mode"] = to_string(step.mode);
    result["emptied"] = json::value_from(step.emptied);
    result["relinked"] = json::value_from(step.relinked);
    result["parent_after"] = optional_text(step.parent_after);
    result["survivor"] = step.survivor;
    result["in_slices"] = step.in_slices;
    return result;
}

Step step_from_json(const std::string& text) {
    try {
        const json::value value = json::parse(text);
        const json::object& object = value.as_object();
        Step step;
        step.kind = one_of(object.at("op"), {StepKind::collect, StepKind::coalesce, StepKind::leaf_coalesce});
        step.vdi = std::string{object.at("vdi").as_string()};
        step.into = text_or_null(object.at("into"));
        step.direction = one_of(object.at("direction"), {Direction::down, Direction::up});
        step.mode = one_of(object.at("mode"), {Mode::offline, Mode::live});
        step.copy_bytes = bytes(object.at("copy_bytes"));
        step.space_needed = bytes(object.at("space_needed"));
        step.space_freed = bytes(object.at("space_freed"));
        if (!object.at("pause_ms").is_null()) step.pause_ms = object.at("pause_ms").to_number<std::uint64_t>();
        step.emptied = texts(object.at("emptied"));
        step.relinked = texts(object.at("relinked"));
        step.parent_after = text_or_null(object.at("parent_after"));
        step.survivor = std::string{object.at("survivor").as_string()};
        // Journals of earlier releases do without it.
        if (const json::value* in_slices = object.if_contains("in_slices")) step.in_slices = in_slices->as_bool();
        return step;
    } catch (const boost::system::system_error& error) {
        throw Error{std::string{"recorded step: "} + error.what()};
    } catch (const std::out_of_range& error) {
        throw Error{std::string{"recorded step: a field is missing: "} + error.what()};
    } catch (const std::invalid_argument& error) {
        throw Error{std::string{"recorded step: a field has the wrong kind: "} + error.what()};
    }
}

} // namespace coppice
