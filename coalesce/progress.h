// Whoever wants to see how the work goes on.
#pragma once

#include "coalesce/plan.h"

#include <string>

namespace coppice {

/// What came of one executed step.
struct StepResult {
    Step step;
    double seconds = 0;
    Bytes copied;
    Bytes shared;
    bool resumed = false;
    std::string error;  ///< empty when done
    std::string reason; ///< reason code of a failure, where there is one
};

class Progress {
public:
    virtual ~Progress() = default;
    /// `index` of `count` steps begins; `done` of `total` guest bytes are merged already when it resumes.
    virtual void began(const Step& step, std::size_t index, std::size_t count) = 0;
    virtual void advanced(Bytes done, Bytes total) = 0;
    virtual void ended(const StepResult& result) = 0;
};

class NoProgress final : public Progress {
public:
    void began(const Step&, std::size_t, std::size_t) override {}
    void advanced(Bytes, Bytes) override {}
    void ended(const StepResult&) override {}
};

} // namespace coppice
