// The words of explain(): what is said of a reason code, and of a part in a step.
#pragma once

#include "coalesce/explain.h"

#include <string>
#include <string_view>

namespace coppice {

/// "is damaged": what a VDI is or does that has this reason itself. Empty where Skipped::text says it all.
std::string_view predicate(std::string_view reason);
/// What has to happen before a VDI that waits or is refused for this reason goes on, where it is the same for all.
std::string_view way_out(std::string_view reason);

/// What a VDI does in a step.
enum class Part { emptied, receives, relinked };

/// Reason code of a part: the kind of the step, or relink.
std::string part_reason(const Step& step, Part part);
/// A sentence or two on what happens to `vdi`.
std::string part_text(const Step& step, Part part, const std::string& vdi);

/// "a", "a and b", "a, b and c"; no more than `most` of them by name.
std::string listed(const std::vector<std::string>& names, std::size_t most = 4);

} // namespace coppice
