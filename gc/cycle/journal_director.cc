#include "gc/cycle/journal_director.h"

#include "format/base/error.h"
#include "format/base/log.h"
#include "gc/cycle/cycle.h"

#include <boost/json.hpp>

#include <algorithm>

namespace coppice {
namespace {

namespace json = boost::json;

constexpr const char* pause_setting = "pause";
constexpr UnixSeconds first_delay = 60;
constexpr UnixSeconds longest_delay = UnixSeconds{6} * 3600;

std::string stored(const Pause& pause) {
    json::object value;
    if (pause.until) value["until"] = *pause.until;
    value["until_danger"] = pause.until_danger;
    value["owner"] = pause.owner;
    value["reason"] = pause.reason;
    return json::serialize(value);
}

/// A pause that cannot be read is still a pause: nobody gets one by accident.
Pause pause_from(const std::string& text) {
    Pause pause;
    json::error_code trouble;
    const json::value value = json::parse(text, trouble);
    if (trouble || !value.is_object()) return pause;
    const json::object& object = value.get_object();
    if (const auto* until = object.if_contains("until"); until && until->is_int64()) pause.until = until->get_int64();
    if (const auto* danger = object.if_contains("until_danger"); danger && danger->is_bool())
        pause.until_danger = danger->get_bool();
    if (const auto* owner = object.if_contains("owner"); owner && owner->is_string())
        pause.owner = std::string{owner->get_string()};
    if (const auto* reason = object.if_contains("reason"); reason && reason->is_string())
        pause.reason = std::string{reason->get_string()};
    return pause;
}

std::string hold_text(const journal::Hold& hold) {
    std::string text = "held by " + hold.owner;
    if (!hold.reason.empty()) text += " (" + hold.reason + ")";
    if (hold.expires) text += " until " + to_rfc3339(*hold.expires);
    return text;
}

std::string retry_text(const journal::Retry& retry) {
    return "failed " + std::to_string(retry.attempts) + (retry.attempts == 1 ? " time" : " times") + " since " +
           to_rfc3339(retry.since) + ", is tried again at " + to_rfc3339(retry.next) + ": " + retry.text;
}

Holder holder_of(const journal::Hold& hold) {
    return {"hold", std::to_string(hold.id), 0, hold_text(hold)};
}

} // namespace

UnixSeconds retry_delay(unsigned attempts) {
    UnixSeconds delay = first_delay;
    for (unsigned i = 1; i < attempts && delay < longest_delay; ++i)
        delay *= 2;
    return std::min(delay, longest_delay);
}

std::optional<Pause> current_pause(const journal::Journal& journal, UnixSeconds now) {
    const auto text = journal.setting(pause_setting);
    if (!text) return std::nullopt;
    Pause pause = pause_from(*text);
    if (pause.until && *pause.until <= now) return std::nullopt;
    return pause;
}

std::string pause_text(const Pause& pause) {
    return (pause.until ? "until " + to_rfc3339(*pause.until) : std::string{"until somebody resumes it"}) +
           (pause.reason.empty() ? "" : ": " + pause.reason);
}

void set_pause(journal::Journal& journal, const std::optional<Pause>& pause) {
    journal.set_setting(pause_setting, pause ? std::optional{stored(*pause)} : std::nullopt);
}

std::vector<Explanation> explain_with_journal(const Observation& seen, const Plan& admitted, Situation situation,
                                              const journal::Journal* journal, UnixSeconds now) {
    situation.frozen = seen.frozen;
    std::map<std::string, journal::VerdictRecord> known;
    if (journal != nullptr) {
        situation.pause = current_pause(*journal, now);
        for (const journal::Hold& hold : journal->holds(now))
            situation.holds[hold.vdi].push_back(holder_of(hold));
        for (journal::VerdictRecord& record : journal->verdicts())
            known.emplace(record.vdi, std::move(record));
    }
    std::vector<Explanation> result = explain(seen.tree, admitted, situation);
    for (Explanation& explanation : result) {
        const auto place = known.find(explanation.vdi);
        if (place != known.end() && place->second.verdict == to_string(explanation.verdict) &&
            place->second.reason == explanation.reason)
            explanation.since = place->second.since;
    }
    return result;
}

Policy JournalDirector::policy() {
    Policy result = order_.policy;
    if (journal_ == nullptr) return result;
    const UnixSeconds now = clock_().now;
    for (const journal::Hold& hold : journal_->holds(now))
        result.holds.emplace(hold.vdi, hold_text(hold));
    if (!order_.patient) return result;
    for (const journal::Retry& retry : journal_->retries())
        // What lies further ahead than any delay was written by a clock that was wrong.
        if (retry.next > now && retry.next - now <= longest_delay)
            result.retry_later.emplace(std::pair{retry.vdi, retry.into}, retry_text(retry));
    return result;
}

Plan JournalDirector::admit(const Plan& plan, const Observation& seen) {
    const WallTime time = clock_();
    Schedule schedule;
    schedule.danger = order_.danger;
    if (order_.patient) schedule.window = order_.window;
    if (journal_ != nullptr) schedule.pause = current_pause(*journal_, time.now);
    Admission admission = coppice::admit(plan, seen.tree, seen.free, schedule, time);
    for (const std::string& danger : admission.dangers)
        log::notice("gc", danger);
    if (told_) told_(admission);
    return std::move(admission.plan);
}

std::optional<std::string> JournalDirector::pause_of(const Step& step, const SrTree& tree, Bytes free) {
    const WallTime time = clock_();
    Schedule schedule;
    schedule.danger = order_.danger;
    if (journal_ != nullptr) schedule.pause = current_pause(*journal_, time.now);
    if (!schedule.pause) return std::nullopt;
    Plan one;
    one.steps = {step};
    if (!coppice::admit(one, tree, free, schedule, time).plan.steps.empty()) return std::nullopt; // until danger
    return "paused " + pause_text(*schedule.pause);
}

void JournalDirector::planned(const Observation& seen, const Plan& admitted) {
    if (!records_ || journal_ == nullptr) return;
    const UnixSeconds now = clock_().now;
    std::vector<journal::VerdictRecord> records;
    for (const Explanation& explanation : explain_with_journal(seen, admitted, {}, journal_, now))
        records.push_back({explanation.vdi, std::string{to_string(explanation.verdict)}, explanation.reason,
                           explanation.text, explanation.since.value_or(now)});
    journal_->record_verdicts(records, now);
}

void JournalDirector::record_speed(const StepResult& result) {
    if (result.seconds <= 0) return;
    const bool shared = result.shared > result.copied;
    const Bytes bytes = shared ? result.shared : result.copied;
    if (bytes == 0_B) return;
    journal_->record_speed({clock_().now, shared ? "shared" : "copied", bytes, result.seconds});
}

void JournalDirector::ended(const StepResult& result) {
    if (!records_ || journal_ == nullptr) return;
    const std::string into = result.step.into.value_or("");
    if (result.error.empty()) {
        journal_->forget_failure(result.step.vdi, into);
        record_speed(result);
        return;
    }
    journal::Retry retry;
    retry.vdi = result.step.vdi;
    retry.into = into;
    retry.reason = result.reason;
    retry.text = result.error;
    unsigned attempts = 1;
    for (const journal::Retry& known : journal_->retries())
        if (known.vdi == retry.vdi && known.into == into) attempts = known.attempts + 1;
    retry.next = clock_().now + retry_delay(attempts);
    journal_->record_failure(retry);
}

} // namespace coppice
