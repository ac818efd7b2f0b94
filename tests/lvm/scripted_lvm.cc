#include "tests/lvm/scripted_lvm.h"

#include "format/base/error.h"

#include <gtest/gtest.h>

namespace coppice::lvm::test {
namespace {

class Recorded final : public HeldLock {
public:
    explicit Recorded(std::function<void()> given) : given_{std::move(given)} {}
    ~Recorded() override { given_(); }

private:
    std::function<void()> given_;
};

/// Without the directory of the program.
std::string short_text(const Command& command) {
    std::string text = command.program();
    for (std::size_t i = 1; i < command.arguments.size(); ++i)
        text += " " + command.arguments[i];
    return text;
}

class Json {
public:
    Json& text(const char* name, const std::string& value) {
        body_ += std::string{body_.empty() ? "" : ", "} + "\"" + name + "\":\"" + value + "\"";
        return *this;
    }
    Json& number(const char* name, std::uint64_t value) { return text(name, std::to_string(value)); }
    std::string row() const { return "{" + body_ + "}"; }

private:
    std::string body_;
};

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words)
        text += (text.empty() ? "" : ",") + word;
    return text;
}

std::string vg_row(const VgReport& report) {
    return Json{}
        .text("vg_name", report.name)
        .text("vg_uuid", report.uuid)
        .number("vg_seqno", report.sequence_number)
        .number("vg_extent_size", report.extent_size.count())
        .number("vg_extent_count", report.extents.count())
        .number("vg_free_count", report.free.count())
        .number("vg_mda_size", report.metadata_size.count())
        .number("vg_mda_free", report.metadata_free.count())
        .number("vg_missing_pv_count", report.missing_pvs)
        .number("pv_count", report.pvs.size())
        .number("lv_count", report.lvs.size())
        .row();
}

} // namespace

ScriptedRunner::~ScriptedRunner() {
    for (const Step& step : script_)
        ADD_FAILURE() << "never ran: " << step.text;
}

void ScriptedRunner::expect(std::string text, CommandResult result, std::function<void()> while_running) {
    script_.push_back({std::move(text), std::move(result), std::move(while_running)});
}

void ScriptedRunner::always(std::string start, std::function<CommandResult()> answer) {
    standing_.emplace_back(std::move(start), std::move(answer));
}

CommandResult ScriptedRunner::run(const Command& command) {
    const std::string text = short_text(command);
    for (const auto& [start, answer] : standing_)
        if (text.starts_with(start)) return answer();
    events_.push_back("run " + text);
    ran.push_back(command);
    if (script_.empty() || script_.front().text != text) {
        ADD_FAILURE() << "not expected: " << text << (script_.empty() ? "" : "\n   but: " + script_.front().text);
        return failed("not in the script");
    }
    Step step = std::move(script_.front());
    script_.pop_front();
    if (step.while_running) step.while_running();
    return std::move(step.result);
}

std::unique_ptr<HeldLock> RecordedTurns::take() {
    events_.emplace_back("turn");
    return std::make_unique<Recorded>([this] { events_.emplace_back("end of turn"); });
}

std::unique_ptr<HeldLock> RecordedLocks::take(const std::string& space, const std::string& name) {
    const std::string lock = space + "/" + name;
    if (busy.contains(lock) || held.contains(lock)) throw Busy{lock, "the test"};
    held.insert(lock);
    events_.push_back("take " + lock);
    return std::make_unique<Recorded>([this, lock] {
        held.erase(lock);
        events_.push_back("give " + lock);
    });
}

Scripted::Scripted(const std::string& devices)
    : tool{Host{.devices = devices,
                .reading_configuration = "/r",
                .changing_configuration = "/m",
                .environment = {"EXTRA=1"}},
           runner, turns,
           [this](std::chrono::milliseconds time) { events.push_back("pause " + std::to_string(time.count())); }} {}

CommandResult failed(std::string message, int status) {
    return {.status = status, .errors = std::move(message)};
}

CommandResult reported(std::string report) {
    return {.report = std::move(report)};
}

CommandResult printed(std::string output) {
    return {.output = std::move(output)};
}

std::string report_json(const VgReport& report) {
    std::vector<std::string> pvs, lvs, segments;
    for (const PvRow& pv : report.pvs)
        pvs.push_back(Json{}
                          .text("pv_name", pv.name)
                          .text("pv_uuid", pv.uuid)
                          .number("pe_start", pv.data_start.count())
                          .number("pv_pe_count", pv.extents.count())
                          .text("pv_missing", pv.missing ? "missing" : "")
                          .row());
    for (const LvRow& lv : report.lvs) {
        lvs.push_back(Json{}
                          .text("lv_name", lv.name)
                          .text("lv_uuid", lv.uuid)
                          .number("lv_size", lv.size.count())
                          .text("lv_tags", joined(lv.tags))
                          .text("lv_attr", std::string{lv.kind} + (lv.permission == Permission::read_only ? "r" : "w") +
                                               "i-------")
                          .number("seg_count", lv.segments.size())
                          .row());
        for (const Segment& segment : lv.segments)
            segments.push_back(Json{}
                                   .text("lv_uuid", lv.uuid)
                                   .text("segtype", segment.type)
                                   .number("seg_start_pe", segment.start.count())
                                   .number("seg_size_pe", segment.length.count())
                                   .text("devices", segment.devices)
                                   .row());
    }
    return R"({"report":[{"vg":[)" + vg_row(report) + R"(],"pv":[)" + joined(pvs) + R"(],"lv":[)" + joined(lvs) +
           R"(],"pvseg":[{"pvseg_start":"0"}],"seg":[)" + joined(segments) + "]}]}";
}

std::string stamp_json(const VgReport& report) {
    return R"({"report":[{"vg":[)" + vg_row(report) + "]}]}";
}

VgReport empty_group() {
    VgReport report{.name = "VG",
                    .uuid = "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg",
                    .sequence_number = 7,
                    .extent_size = 4_MiB,
                    .extents = Extents{200},
                    .free = Extents{200},
                    .metadata_size = 1_MiB,
                    .metadata_free = 1_MiB};
    for (const char* const number : {"0", "1"})
        report.pvs.push_back({.name = std::string{"/dev/pv"} + number,
                              .uuid = std::string{"pvpvpv-pvpv-pvpv-pvpv-pvpv-pvpv-pvpvp"} + number,
                              .data_start = 1_MiB,
                              .extents = Extents{100}});
    return report;
}

LvRow linear(const std::string& name, std::uint64_t extents, std::size_t pv, std::uint64_t first) {
    LvRow row{.name = name, .uuid = "lvlvlv-" + name, .size = 4_MiB * extents};
    row.segments.push_back({.length = Extents{extents},
                            .type = "linear",
                            .devices = "/dev/pv" + std::to_string(pv) + "(" + std::to_string(first) + ")"});
    return row;
}

VgReport with(VgReport report, std::vector<LvRow> lvs) {
    for (const LvRow& lv : lvs)
        for (const Segment& segment : lv.segments)
            report.free -= segment.length;
    report.lvs = std::move(lvs);
    return report;
}

} // namespace coppice::lvm::test
