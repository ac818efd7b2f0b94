#include "gc/service/metrics.h"

#include "format/base/printable.h"

#include "gc/service/json_output.h"

#include <boost/json.hpp>

#include <algorithm>
#include <map>
#include <sstream>

namespace coppice {
namespace {

/// The value of a label: lines end by name, whatever else is no text gets lost.
std::string escaped(std::string_view text) {
    std::string result;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        for (const char c : printable(text.substr(begin, end - begin))) {
            if (c == '\\' || c == '"') result += '\\';
            result += c;
        }
        if (end < text.size()) result += "\\n";
        begin = end + 1;
    }
    return result;
}

/// Writes families one after the other; every sample carries the SR.
class Writer {
public:
    explicit Writer(const std::string& sr) : sr_{"sr=\"" + escaped(sr) + "\""} {}

    void family(const std::string& name, const char* type, const char* help) {
        name_ = "coppice_" + name;
        out_ << "# TYPE " << name_ << ' ' << type << "\n# HELP " << name_ << ' ' << help << '\n';
    }
    template <class Number>
    void sample(Number value, const std::string& labels = {}, const char* suffix = "") {
        out_ << name_ << suffix << '{' << sr_ << (labels.empty() ? "" : ",") << labels << "} " << value << '\n';
    }
    std::string text() { return out_.str() + "# EOF\n"; }

private:
    std::string sr_;
    std::string name_;
    std::ostringstream out_;
};

std::string label(const char* name, std::string_view value) {
    return std::string{name} + "=\"" + escaped(value) + "\"";
}

/// Images in the longest chain; chains that form a circle count as far as they are seen.
std::size_t deepest(const SrTree& tree) {
    std::size_t result = 0;
    for (const TreeNode& node : tree.nodes) {
        std::size_t depth = 1;
        for (const TreeNode* at = &node; at->parent && depth <= tree.nodes.size(); ++depth) {
            at = tree.find(*at->parent);
            if (at == nullptr) break;
        }
        result = std::max(result, depth);
    }
    return result;
}

void write_tree(Writer& out, const SrTree& tree) {
    std::map<std::string, std::size_t> states;
    std::size_t hidden = 0;
    Bytes physical;
    for (const TreeNode& node : tree.nodes) {
        ++states[std::string{to_string(node.state)}];
        hidden += node.hidden ? 1 : 0;
        physical += node.physical_size;
    }
    out.family("images", "gauge", "Images in the SR by state.");
    for (const char* const state : {"ok", "damaged", "unknown"})
        out.sample(states[state], label("state", state));
    out.family("hidden_images", "gauge", "Images that are no disks.");
    out.sample(hidden);
    out.family("chain_depth_max", "gauge", "Images in the longest chain.");
    out.sample(deepest(tree));
    out.family("physical_bytes", "gauge", "What the images take of the SR.");
    out.sample(physical.count());
}

void write_history(Writer& out, const journal::Journal& journal, UnixSeconds now) {
    std::map<std::string, std::size_t> counts;
    Bytes copied;
    Bytes shared;
    for (const journal::Operation& operation : journal.history({})) {
        ++counts[label("op", operation.kind) + "," + label("state", to_string(operation.state))];
        copied += operation.copied_bytes;
        shared += operation.shared_bytes;
    }
    out.family("remembered_operations", "gauge", "Operations that the journal remembers.");
    for (const auto& [labels, count] : counts)
        out.sample(count, labels);
    out.family("remembered_copied_bytes", "gauge", "Bytes that these have copied.");
    out.sample(copied.count());
    out.family("remembered_shared_bytes", "gauge", "Bytes that these have shared instead of copying.");
    out.sample(shared.count());
    out.family("holds", "gauge", "Holds that administrators have made.");
    out.sample(journal.holds(now).size());
    out.family("retries", "gauge", "Steps that failed and will be tried again.");
    out.sample(journal.retries().size());
    out.family("paused", "gauge", "1 while work on the SR is paused.");
    out.sample(current_pause(journal, now) ? 1 : 0);
}

void write_service(Writer& out, const ServiceStatus& status) {
    out.family("service_state", "stateset", "What the service is doing.");
    for (const auto state : {ServiceState::idle, ServiceState::working, ServiceState::paused, ServiceState::standby,
                             ServiceState::waiting})
        out.sample(status.state == state ? 1 : 0, label("coppice_service_state", to_string(state)));
    out.family("operation_done_bytes", "gauge", "Bytes done of the step under way.");
    out.sample(status.operation ? status.operation->done.count() : 0);
    out.family("operation_total_bytes", "gauge", "Bytes of the step under way.");
    out.sample(status.operation ? status.operation->total.count() : 0);
}

double seconds(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

void write_sr_lock(Writer& out, const HoldTimes& times) {
    out.family("sr_lock_hold_seconds", "summary", "How long the SR lock of sm was held.");
    out.sample(times.count, {}, "_count");
    out.sample(seconds(times.total), {}, "_sum");
    out.family("sr_lock_hold_max_seconds", "gauge", "The longest of these times.");
    out.sample(seconds(times.longest));
}

} // namespace

std::string metrics_text(const MetricsSource& source) {
    Writer out{source.sr};
    out.family("service_up", "gauge", "1 while a service runs for the SR.");
    out.sample(source.service ? 1 : 0);
    if (source.service) write_service(out, *source.service);
    if (source.sr_lock) write_sr_lock(out, *source.sr_lock);
    write_tree(out, source.tree);
    std::map<std::string, std::size_t> reasons;
    for (const Skipped& skipped : source.skipped)
        ++reasons[skipped.reason];
    out.family("left_alone", "gauge", "VDIs that are left alone, by reason.");
    for (const auto& [reason, count] : reasons)
        out.sample(count, label("reason", reason));
    if (source.journal != nullptr) write_history(out, *source.journal, source.now);
    return out.text();
}

Reply metrics_reply(const SrLocation& sr, const SessionOptions& options, const WorkOrder& order,
                    std::optional<ServiceStatus> service, std::optional<HoldTimes> sr_lock, const WallClock& clock) {
    Session session{sr, options, Session::Intent::look, "metrics"};
    JournalDirector director{order, session.journal(), false, clock};
    Observation seen;
    MetricsSource source;
    source.sr = sr.name;
    source.skipped = session.plan(director, &seen).skipped;
    source.tree = std::move(seen.tree);
    source.service = std::move(service);
    source.sr_lock = sr_lock;
    source.journal = session.journal();
    source.now = clock().now;
    Reply reply;
    reply.text = metrics_text(source);
    reply.document = new_document();
    reply.document["text"] = valid_utf8(reply.text);
    return reply;
}

} // namespace coppice
