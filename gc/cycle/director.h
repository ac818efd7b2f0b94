// What decides beside the trees: holds, pauses, retry delays, windows. Asked anew before every plan, so that a change
// counts from the next step on.
#pragma once

#include "coalesce/plan.h"
#include "coalesce/progress.h"

#include <optional>
#include <string>

namespace coppice {

struct Observation;

class Director {
public:
    virtual ~Director() = default;
    virtual Policy policy() = 0;
    /// The part of `plan` that may begin now; the rest is among `skipped` of what it returns.
    virtual Plan admit(const Plan& plan, const Observation& seen) = 0;
    /// Why a pause keeps a merge that an earlier run has left open from being completed, for people; nullopt: none
    /// does.
    virtual std::optional<std::string> pause_of(const Step& step, const SrTree& tree, Bytes free) = 0;
    /// Told of every plan before it is carried out.
    virtual void planned(const Observation& seen, const Plan& admitted) = 0;
    /// Told of every step that has ended, well or not; not of one that was stopped.
    virtual void ended(const StepResult& result) = 0;
};

/// The same policy at any time.
class FixedDirector final : public Director {
public:
    explicit FixedDirector(Policy policy) : policy_{std::move(policy)} {}
    Policy policy() override { return policy_; }
    Plan admit(const Plan& plan, const Observation&) override { return plan; }
    std::optional<std::string> pause_of(const Step&, const SrTree&, Bytes) override { return std::nullopt; }
    void planned(const Observation&, const Plan&) override {}
    void ended(const StepResult&) override {}

private:
    Policy policy_;
};

} // namespace coppice
