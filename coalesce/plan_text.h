// A plan for people: one line per step, one per VDI that is left alone.
#pragma once

#include "coalesce/plan.h"

#include <string>

namespace coppice {

/// "512 B", "1.5 GiB": at most one decimal, binary units.
std::string human_size(Bytes size);
/// One line without its end.
std::string to_text(const Step& step);
/// Ends with a newline.
std::string to_text(const Plan& plan);

} // namespace coppice
