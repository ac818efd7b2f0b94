// How the outcome of a cycle is told to whoever asked for it.
#pragma once

#include "gc/cycle/cycle.h"
#include "gc/service/control_message.h"

namespace coppice {

/// What the exit status tells of a reason code, where a step failed or what was asked for by name was left alone.
ExitStatus status_of_reason(const std::string& reason);

/// The outcome as a document and as text, with the exit status that it means: failures come first; what was left alone
/// counts only where it was asked for by name, or where nothing at all could be done for lack of space.
Reply report_of(const Outcome& outcome, const Policy& policy);
/// Of an outcome whose rest could not be begun.
Reply report_of(const Outcome& outcome, const Policy& policy, const Failure& failure);

} // namespace coppice
