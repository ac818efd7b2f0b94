#include "coalesce/plan_text.h"

#include "format/base/printable.h"

#include <array>

namespace coppice {
namespace {

std::string joined(const std::vector<std::string>& names) {
    std::string result;
    for (const std::string& name : names)
        result += (result.empty() ? "" : " ") + printable(name);
    return result;
}

} // namespace

std::string human_size(Bytes size) {
    constexpr std::array units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (size < 1_KiB) return std::to_string(size.count()) + " B";
    std::size_t unit = 0;
    std::uint64_t scale = 1024;
    while (unit + 1 < units.size() && size.count() / scale >= 1024) {
        scale *= 1024;
        ++unit;
    }
    // In tenths, rounded down: a size must not look larger than it is.
    const std::uint64_t whole = size.count() / scale;
    const std::uint64_t tenth = size.count() % scale / (scale / 1024) * 10 / 1024;
    std::string number = std::to_string(whole);
    if (whole < 100 && tenth != 0) number += "." + std::to_string(tenth);
    return number + " " + units[unit];
}

std::string to_text(const Step& step) {
    std::string line{to_string(step.kind)};
    line += " " + joined(step.emptied);
    if (step.into) {
        line += " into " + printable(*step.into) + " (" + std::string{to_string(step.direction)} + ", " +
                std::string{to_string(step.mode)} + "): copies " + human_size(step.copy_bytes) + ", needs " +
                human_size(step.space_needed) + ", frees " + human_size(step.space_freed);
        if (step.in_slices) line += ", in slices";
        line +=
            step.parent_after ? "; parent becomes " + printable(*step.parent_after) : std::string{"; becomes a root"};
        if (!step.relinked.empty()) line += "; relinks " + joined(step.relinked);
        if (step.survivor != *step.into) line += "; lives on as " + printable(step.survivor);
    } else {
        line += ": frees " + human_size(step.space_freed);
    }
    return line;
}

std::string to_text(const Plan& plan) {
    std::string text;
    std::size_t number = 0;
    for (const Step& step : plan.steps)
        text += std::to_string(++number) + ". " + to_text(step) + "\n";
    if (plan.steps.empty())
        text += "Nothing to do.\n";
    else
        text += "Copies " + human_size(plan.copy_bytes()) + ", frees " + human_size(plan.space_freed()) + ".\n";
    for (const Skipped& skipped : plan.skipped)
        text += "skipped " + printable(skipped.vdi) + ": " + skipped.reason + ": " + printable(skipped.text) + "\n";
    return text;
}

} // namespace coppice
