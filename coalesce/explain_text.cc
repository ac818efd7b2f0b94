#include "coalesce/explain_text.h"

#include "format/base/printable.h"

#include <string_view>

namespace coppice {
namespace {

std::string line(std::string_view label, std::string_view text) {
    return std::string{label} + printable(text) + "\n";
}

std::string holder_text(const Holder& holder) {
    std::string text = holder.kind;
    if (!holder.name.empty()) text += " " + holder.name;
    if (holder.pid != 0) text += " (pid " + std::to_string(holder.pid) + ")";
    if (!holder.text.empty()) text += ": " + holder.text;
    return text;
}

} // namespace

std::string to_text(const Explanation& explanation) {
    std::string text = line(printable(explanation.vdi) + ": ",
                            std::string{to_string(explanation.verdict)} + " (" + explanation.reason + ")");
    text += line("  ", explanation.text);
    for (const Holder& holder : explanation.holders)
        text += line("  held by:  ", holder_text(holder));
    if (explanation.since) text += line("  since:    ", rfc3339(*explanation.since));
    if (!explanation.unblocks.empty()) text += line("  unblocks: ", explanation.unblocks);
    if (!explanation.next.empty()) text += line("  next:     ", explanation.next);
    return text;
}

} // namespace coppice
