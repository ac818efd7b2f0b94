// An explanation for people: a few lines of text.
#pragma once

#include "coalesce/explain.h"

#include <string>

namespace coppice {

/// Ends with a newline. Control characters, which names of processes may have, are replaced.
std::string to_text(const Explanation& explanation);

} // namespace coppice
