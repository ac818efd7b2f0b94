#include "gc/service/json_output.h"

#include "coalesce/step_json.h"
#include "format/base/printable.h"

#include "gc/volumes/volume_names.h"

#include <boost/json.hpp>

#include <ostream>

namespace coppice {

namespace json = boost::json;

namespace {

json::value text_or_null(std::string_view text) {
    if (text.empty()) return nullptr;
    return json::string{valid_utf8(text)};
}

json::value text_or_null(const std::optional<std::string>& text) {
    if (!text) return nullptr;
    return json::string{valid_utf8(*text)};
}

json::object result_json(const StepResult& result) {
    json::object entry = to_json(result.step);
    entry["seconds"] = result.seconds;
    entry["copied_bytes"] = result.copied.count();
    entry["shared_bytes"] = result.shared.count();
    entry["resumed"] = result.resumed;
    return entry;
}

void print_value(std::ostream& out, const json::value& value, std::size_t depth);

/// One element of an array or object on its own line.
void open_line(std::ostream& out, bool first, std::size_t depth) {
    out << (first ? "\n" : ",\n") << std::string(depth * 2, ' ');
}

void print_object(std::ostream& out, const json::object& object, std::size_t depth) {
    out << '{';
    bool first = true;
    for (const auto& [key, value] : object) {
        open_line(out, std::exchange(first, false), depth + 1);
        out << json::serialize(json::string{key}) << ": ";
        print_value(out, value, depth + 1);
    }
    if (!first) out << '\n' << std::string(depth * 2, ' ');
    out << '}';
}

void print_array(std::ostream& out, const json::array& array, std::size_t depth) {
    out << '[';
    bool first = true;
    for (const auto& value : array) {
        open_line(out, std::exchange(first, false), depth + 1);
        print_value(out, value, depth + 1);
    }
    if (!first) out << '\n' << std::string(depth * 2, ' ');
    out << ']';
}

void print_value(std::ostream& out, const json::value& value, std::size_t depth) {
    if (const auto* object = value.if_object()) return print_object(out, *object, depth);
    if (const auto* array = value.if_array()) return print_array(out, *array, depth);
    out << json::serialize(value);
}

} // namespace

std::string valid_utf8(std::string_view text) {
    std::string result;
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0)
            result += "\xEF\xBF\xBD"; // the replacement character
        else
            result += text.substr(0, length);
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return result;
}

json::object new_document() {
    return {{"schema", 1}};
}

void print_json(std::ostream& out, const json::value& document) {
    print_value(out, document, 0);
    out << '\n' << std::flush;
}

json::object error_json(const Failure& failure) {
    json::object document = new_document();
    document["error"] = json::object{{"code", valid_utf8(failure.code)},
                                     {"text", valid_utf8(failure.text)},
                                     {"object", text_or_null(std::string_view{failure.object})}};
    return document;
}

json::array skipped_json(std::span<const Skipped> skipped) {
    json::array result;
    for (const Skipped& entry : skipped)
        result.push_back(
            json::object{{"vdi", valid_utf8(entry.vdi)}, {"reason", entry.reason}, {"text", valid_utf8(entry.text)}});
    return result;
}

json::object plan_json(const Plan& plan) {
    json::object document = new_document();
    json::array steps;
    for (const Step& step : plan.steps)
        steps.push_back(to_json(step));
    document["steps"] = std::move(steps);
    document["skipped"] = skipped_json(plan.skipped);
    document["copy_bytes"] = plan.copy_bytes().count();
    document["space_freed"] = plan.space_freed().count();
    return document;
}

json::object outcome_json(const Outcome& outcome) {
    json::object document = new_document();
    json::array done;
    for (const StepResult& result : outcome.done)
        done.push_back(result_json(result));
    document["done"] = std::move(done);
    json::array failed;
    for (const StepResult& result : outcome.failed) {
        json::object entry = result_json(result);
        entry["error"] = valid_utf8(result.error);
        entry["reason"] = text_or_null(std::string_view{result.reason});
        failed.push_back(std::move(entry));
    }
    document["failed"] = std::move(failed);
    document["skipped"] = skipped_json(outcome.skipped);
    return document;
}

namespace {

std::string path_of(const SrLocation& sr, const std::string& file) {
    if (sr.group.empty()) return sr.directory + '/' + file;
    return "/dev/" + sr.group + '/' + volume_of_file(file).value_or(file);
}

} // namespace

json::object tree_json(const SrTree& tree, const SrLocation& sr) {
    json::object document = new_document();
    document["sr"] = valid_utf8(sr.name);
    document["kind"] = sr.group.empty() ? "file" : "lvm";
    document["complete"] = tree.complete;
    std::set<std::string_view> parents;
    for (const TreeNode& node : tree.nodes)
        if (node.parent) parents.insert(*node.parent);
    json::array nodes;
    for (const TreeNode& node : tree.nodes) {
        json::object entry;
        entry["uuid"] = valid_utf8(node.uuid);
        entry["format"] = to_string(node.format);
        entry["parent"] = text_or_null(node.parent);
        entry["hidden"] = node.hidden;
        entry["leaf"] = !parents.contains(node.uuid);
        entry["state"] = to_string(node.state);
        entry["reason"] = text_or_null(std::string_view{node.reason});
        entry["text"] = text_or_null(std::string_view{node.text});
        entry["virtual_size"] = node.virtual_size.count();
        entry["physical_size"] = node.physical_size.count();
        entry["allocated_size"] = node.allocated_size.count();
        entry["path"] = valid_utf8(path_of(sr, node.file));
        json::array openers;
        for (const Opener& opener : node.openers)
            openers.push_back(json::object{{"pid", opener.pid}, {"name", valid_utf8(opener.name)}});
        entry["openers"] = std::move(openers);
        nodes.push_back(std::move(entry));
    }
    document["nodes"] = std::move(nodes);
    return document;
}

json::object check_json(std::string_view path, const CheckReport& report) {
    json::object result;
    result["path"] = valid_utf8(path);
    result["verdict"] = to_string(report.verdict);
    result["readable"] = report.readable;
    result["mergeable"] = report.mergeable;
    result["reason"] = text_or_null(std::string_view{report.reason});
    json::array findings;
    for (const Finding& finding : report.findings)
        findings.push_back(
            json::object{{"code", finding.code},
                         {"offset", finding.offset ? json::value(finding.offset->count()) : json::value(nullptr)},
                         {"text", valid_utf8(finding.text)}});
    result["findings"] = std::move(findings);
    return result;
}

} // namespace coppice
