#include "gc/service/progress.h"

#include "gc/base/text_output.h"

#include <algorithm>
#include <cstdlib>
#include <ostream>
#include <string_view>
#include <unistd.h>

namespace coppice {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t bar_columns = 24;
constexpr auto bar_interval = 200ms;
constexpr auto line_interval = 10'000ms;
// Before this much time has passed, a rate is mostly noise.
constexpr double shortest_measured = 0.5;
constexpr double longest_forecast = 30.0 * 24 * 3600;

double share_of(Bytes done, Bytes total) {
    if (total == 0_B) return 0;
    return std::clamp(static_cast<double>(done.count()) / static_cast<double>(total.count()), 0.0, 1.0);
}

std::string bar(double share) {
    const auto filled = static_cast<std::size_t>(share * static_cast<double>(bar_columns));
    return '[' + std::string(filled, '#') + std::string(bar_columns - filled, '.') + ']';
}

} // namespace

ProgressDisplay::ProgressDisplay(std::ostream& out, Style style, Clock clock)
    : out_{out}, style_{style}, clock_{std::move(clock)} {}

ProgressDisplay::~ProgressDisplay() {
    clear();
}

void ProgressDisplay::began(const Step& step, std::size_t index, std::size_t count) {
    clear();
    number_ = index + 1;
    count_ = std::max(count, number_);
    title_ = printable(step_title(step));
    total_ = step.copy_bytes;
    done_ = base_ = 0_B;
    has_base_ = false;
    started_ = shown_ = clock_();
    if (style_ == Style::lines) out_ << position() << title_ << '\n' << std::flush;
    if (style_ == Style::bar) draw();
}

void ProgressDisplay::advanced(Bytes done, Bytes total) {
    total_ = total;
    done_ = std::min(done, total);
    if (!has_base_) {
        has_base_ = true;
        base_ = done_;
    }
    const auto now = clock_();
    if (now - shown_ < (style_ == Style::bar ? bar_interval : line_interval)) return;
    shown_ = now;
    draw();
}

void ProgressDisplay::ended(const StepResult& result) {
    clear();
    out_ << position();
    if (!result.error.empty()) {
        out_ << "failed: " << printable(result.error);
    } else {
        out_ << "done: " << printable(step_title(result.step)) << ", " << human_size(result.copied) << " copied";
        if (result.shared != 0_B) out_ << ", " << human_size(result.shared) << " shared";
        out_ << " in " << human_duration(std::chrono::seconds{static_cast<long>(result.seconds + 0.5)});
        if (result.resumed) out_ << ", continued";
    }
    out_ << '\n' << std::flush;
}

std::string ProgressDisplay::position() const {
    // What a recovery completes ends without having begun here.
    if (count_ == 0) return {};
    return "step " + std::to_string(number_) + " of " + std::to_string(count_) + ": ";
}

std::string ProgressDisplay::state() const {
    const double seconds = std::chrono::duration<double>(clock_() - started_).count();
    std::string text = std::to_string(static_cast<int>(share_of(done_, total_) * 100)) + "% " + human_size(done_) +
                       " of " + human_size(total_);
    if (seconds < shortest_measured || done_ <= base_) return text;
    const double rate = static_cast<double>((done_ - base_).count()) / seconds;
    const double left = static_cast<double>((total_ - done_).count()) / rate;
    text += ", " + human_size(Bytes{static_cast<std::uint64_t>(rate)}) + "/s";
    if (left < longest_forecast)
        text += ", " + human_duration(std::chrono::seconds{static_cast<long>(left + 0.5)}) + " left";
    return text;
}

void ProgressDisplay::draw() {
    if (style_ == Style::lines) {
        out_ << position() << state() << '\n' << std::flush;
        return;
    }
    out_ << "\r\x1b[K" << bar(share_of(done_, total_)) << ' ' << state() << ", step " << number_ << " of " << count_
         << ' ' << title_ << std::flush;
    drawn_ = true;
}

void ProgressDisplay::clear() {
    if (drawn_) out_ << "\r\x1b[K" << std::flush;
    drawn_ = false;
}

ProgressDisplay::Style progress_style() {
    const char* const terminal = std::getenv("TERM");
    const bool dumb = terminal == nullptr || std::string_view{terminal} == "dumb";
    return ::isatty(STDERR_FILENO) == 1 && !dumb ? ProgressDisplay::Style::bar : ProgressDisplay::Style::lines;
}

std::string step_title(const Step& step) {
    std::string title = std::string{to_string(step.kind)} + ' ' + step.vdi;
    if (step.into) title += ' ' + std::string{to_string(step.direction)} + " into " + *step.into;
    return title;
}

} // namespace coppice
