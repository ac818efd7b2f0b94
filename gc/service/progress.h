// What a person sees while steps run: a bar on a terminal, plain lines elsewhere. Never on standard output.
//
// Used by one thread. The clock is handed in, so that tests need not wait.
#pragma once

#include "coalesce/progress.h"
#include "format/base/units.h"

#include <chrono>
#include <functional>
#include <iosfwd>
#include <string>

namespace coppice {

class ProgressDisplay final : public Progress {
public:
    enum class Style { bar, lines };
    using Clock = std::function<std::chrono::steady_clock::time_point()>;

    ProgressDisplay(std::ostream& out, Style style, Clock clock = &std::chrono::steady_clock::now);
    /// Takes the bar away.
    ~ProgressDisplay() override;

    void began(const Step& step, std::size_t index, std::size_t count) override;
    /// Called as often as the caller likes; what is shown is renewed a few times a second.
    void advanced(Bytes done, Bytes total) override;
    void ended(const StepResult& result) override;

private:
    void draw();
    void clear();
    std::string position() const;
    std::string state() const;

    std::ostream& out_;
    Style style_;
    Clock clock_;
    std::size_t number_ = 0;
    std::size_t count_ = 0;
    std::string title_;
    Bytes total_;
    Bytes done_;
    Bytes base_; ///< where a step that is continued began: not work of this run
    bool has_base_ = false;
    bool drawn_ = false;
    std::chrono::steady_clock::time_point started_;
    std::chrono::steady_clock::time_point shown_;
};

/// A bar where standard error is a terminal that can move its cursor.
ProgressDisplay::Style progress_style();

/// "collect <vdi>", "coalesce <vdi> down into <vdi>".
std::string step_title(const Step& step);

} // namespace coppice
