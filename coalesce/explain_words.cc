#include "coalesce/explain_words.h"

#include "coalesce/plan_text.h"

#include <array>

namespace coppice {
namespace {

struct ReasonWords {
    std::string_view reason;
    Outlook outlook;
    std::string_view predicate;
    std::string_view way_out;
};

using enum Outlook;

constexpr std::array reasons{
    ReasonWords{"attached", waiting, "is in use", "Whoever has it open has to close it."},
    ReasonWords{"held", waiting, "is held", "The hold has to be released, or to end."},
    ReasonWords{"paused", waiting, "", "The pause has to end: `coppice resume` ends it."},
    ReasonWords{"outside-window", waiting, "",
                "The window has to begin; `coppice coalesce` and `coppice collect` do not wait for it."},
    ReasonWords{"retry-later", waiting, "",
                "The delay has to end, or one of the images has to change; `coppice coalesce` and `coppice collect` do "
                "not wait for it."},
    ReasonWords{"sm-operation", waiting, "is part of an operation that is not finished",
                "The operation has to be finished by whoever began it."},
    ReasonWords{"no-space", waiting, "", "Space has to become free on the SR."},
    ReasonWords{"in-use-elsewhere", waiting, "may be in use on another host",
                "It has to be certain that no other host uses the SR (--exclusive)."},
    ReasonWords{"activating", waiting, "is just being attached", "The attaching has to be finished."},
    ReasonWords{"not-master", waiting, "", "The pool master has to do it."},
    ReasonWords{"image-damaged", refused, "is damaged",
                "The image has to be repaired, replaced from a backup, or deleted; `coppice check` lists its damage."},
    ReasonWords{"image-unknown", refused, "is in doubt",
                "The image has to become readable; `coppice check` says what is wrong with it."},
    ReasonWords{"unsupported-feature", refused, "uses what coppice leaves alone",
                "The image has to be converted to one without that feature, or deleted."},
    ReasonWords{"scan-incomplete", refused, "",
                "Every image of the SR has to become readable; `coppice tree` shows which is not."},
    ReasonWords{"parent-missing", refused, "has lost its parent", "The parent has to be brought back into the SR."},
    ReasonWords{"chain-cycle", refused, "is part of a circle of parents",
                "One image of the circle has to be given its true parent."},
    ReasonWords{"gc-disabled", refused, "is left out", "Garbage collection has to be switched on (other-config:gc)."},
    ReasonWords{"coalesce-disabled", refused, "is left out",
                "Coalescing has to be switched on (other-config:coalesce)."},
    ReasonWords{"leaf-coalesce-disabled", refused, "is left out",
                "Leaf coalescing has to be switched on (--leaf, or other-config:leaf-coalesce)."},
    ReasonWords{"reset-on-boot", refused, "is left out", "The disk has to be made persistent (on-boot=persist)."},
    ReasonWords{"caching", refused, "is left out",
                "Caching has to be switched off for the disk (allow-caching=false)."},
    ReasonWords{
        "virtual-size", refused, "",
        "Another direction has to be asked for (--direction), or the disk has to get a size that its parent can have."},
    ReasonWords{"mixed-formats", refused, "",
                "Another direction has to be asked for (--direction), or the disk has to be copied to a new one."},
    ReasonWords{"siblings", nothing_to_do, "", ""},
    ReasonWords{"parent-visible", nothing_to_do, "", ""},
    ReasonWords{"visible", nothing_to_do, "", ""},
    ReasonWords{"shared", nothing_to_do, "", ""},
    ReasonWords{"not-planned", nothing_to_do, "", ""},
};

const ReasonWords* find_words(std::string_view reason) {
    for (const ReasonWords& words : reasons)
        if (words.reason == reason) return &words;
    return nullptr;
}

std::string costs(const Step& step) {
    std::string text = " It copies " + human_size(step.copy_bytes) + ", needs " + human_size(step.space_needed) +
                       " of free space and frees " + human_size(step.space_freed);
    if (step.pause_ms) text += "; the guest pauses for about " + std::to_string(*step.pause_ms) + " ms";
    return text + ".";
}

/// The others that a step empties. Only some of them by name: there may be thousands, and each of them gets a text.
std::string others_text(const Step& step, const std::string& vdi) {
    constexpr std::size_t most = 4;
    std::vector<std::string> others;
    for (auto name = step.emptied.begin(); name != step.emptied.end() && others.size() < most; ++name)
        if (*name != vdi) others.push_back(*name);
    const std::size_t left = step.emptied.size() - 1 - others.size();
    if (left > 0) others.push_back(std::to_string(left) + " more");
    return listed(others, most + 1);
}

std::string emptied_text(const Step& step, const std::string& vdi) {
    if (!step.into)
        return "It is garbage: hidden, without children, and used by nobody. Deleting it frees " +
               human_size(step.space_freed) + ".";
    std::string text = "Its data is merged " + std::string{to_string(step.direction)} + " into " + *step.into;
    if (step.emptied.size() > 1) text += ", together with that of " + others_text(step, vdi);
    text += vdi == step.survivor ? ", and the result lives on as this disk." : ", and then it is deleted.";
    return text + costs(step);
}

std::string receives_text(const Step& step) {
    std::string text = "It receives the data of " + listed(step.emptied) + " (" +
                       std::string{to_string(step.direction)} + ", " + std::string{to_string(step.mode)} + ")";
    if (step.survivor != *step.into) text += " and then lives on as " + step.survivor;
    return text + "." + costs(step);
}

} // namespace

std::string_view to_string(Outlook outlook) {
    switch (outlook) {
    case planned:
        return "planned";
    case running:
        return "running";
    case waiting:
        return "waiting";
    case refused:
        return "refused";
    case nothing_to_do:
        return "nothing-to-do";
    }
    return "";
}

Outlook outlook_of_reason(std::string_view reason) {
    const ReasonWords* words = find_words(reason);
    return words == nullptr ? waiting : words->outlook;
}

std::string_view predicate(std::string_view reason) {
    const ReasonWords* words = find_words(reason);
    return words == nullptr ? "" : words->predicate;
}

std::string_view way_out(std::string_view reason) {
    const ReasonWords* words = find_words(reason);
    return words == nullptr ? "What the reason names has to change." : words->way_out;
}

std::string part_reason(const Step& step, Part part) {
    return part == Part::relinked ? "relink" : std::string{to_string(step.kind)};
}

std::string part_text(const Step& step, Part part, const std::string& vdi) {
    switch (part) {
    case Part::emptied:
        return emptied_text(step, vdi);
    case Part::receives:
        return receives_text(step);
    case Part::relinked:
        return "Its parent " + step.emptied.front() + " is merged into " + *step.into +
               ", so that its header is changed to name " + *step.into + "; its own data stays as it is.";
    }
    return "";
}

std::string listed(const std::vector<std::string>& names, std::size_t most) {
    const std::size_t shown = names.size() > most ? most - 1 : names.size();
    std::string text;
    for (std::size_t at = 0; at < shown; ++at) {
        if (at > 0) text += at + 1 == names.size() ? " and " : ", ";
        text += names[at];
    }
    if (shown < names.size()) text += " and " + std::to_string(names.size() - shown) + " others";
    return text;
}

} // namespace coppice
