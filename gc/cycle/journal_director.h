// The director of everyday work: what the journal remembers of holds, pauses and failures, and the time of day, decide
// with the policy what may be done; what came of it is written down there.
#pragma once

#include "coalesce/explain.h"
#include "gc/base/wall_time.h"
#include "gc/cycle/director.h"
#include "journal/journal.h"

#include <functional>
#include <optional>

namespace coppice {

/// What a cycle is to do.
struct WorkOrder {
    Policy policy;
    std::optional<Window> window; ///< nullopt: at any time
    DangerLines danger;
    /// False for what an administrator asks for right now: retry delays and the window do not count, a pause and holds
    /// do.
    bool patient = false;
};

/// How long a step that has failed `attempts` times is left alone: a minute, doubled each time, at most 6 hours.
UnixSeconds retry_delay(unsigned attempts);

/// The pause that the journal remembers, if it has not ended.
std::optional<Pause> current_pause(const journal::Journal& journal, UnixSeconds now);
/// "until <time>: <reason>", for people.
std::string pause_text(const Pause& pause);
void set_pause(journal::Journal& journal, const std::optional<Pause>& pause);

/// Explanations with the time since when each is so, as far as the journal knows.
std::vector<Explanation> explain_with_journal(const Observation& seen, const Plan& admitted, Situation situation,
                                              const journal::Journal* journal, UnixSeconds now);

class JournalDirector final : public Director {
public:
    /// Without a journal there are no holds, pauses and retries. With `records`, failures and verdicts are written
    /// down. `told` hears of every admission.
    using Told = std::function<void(const Admission&)>;
    JournalDirector(WorkOrder order, journal::Journal* journal, bool records, WallClock clock = &host_time,
                    Told told = {})
        : order_{std::move(order)}, journal_{journal}, records_{records}, clock_{std::move(clock)}, told_{std::move(
                                                                                                        told)} {}

    Policy policy() override;
    Plan admit(const Plan& plan, const Observation& seen) override;
    std::optional<std::string> pause_of(const Step& step, const SrTree& tree, Bytes free) override;
    void planned(const Observation& seen, const Plan& admitted) override;
    void ended(const StepResult& result) override;

private:
    void record_speed(const StepResult& result);

    WorkOrder order_;
    journal::Journal* journal_;
    bool records_;
    WallClock clock_;
    Told told_;
};

} // namespace coppice
