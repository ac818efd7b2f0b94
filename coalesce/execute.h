// Executes one step of a plan, from wherever an earlier attempt has stopped.
//
// The order of durability, with what recovery does after a crash behind each stage, is kept in docs/design/merge.md.
#pragma once

#include "coalesce/merge_context.h"

namespace coppice {

/// Returns when the step is complete and durable. Throws StopRequested, or an Error that says why it was given up; the
/// SR is then in a state from which a later call goes on, and every guest reads the same bytes.
StepResult execute(const Step& step, MergeContext& context);

/// The last part of a merge, after all data is known to be in `into`: relink, exchange names, delete. Does what is left
/// to do of it. `sources` and `cursor` are those of the recorded operation: whatever has changed since, looked at while
/// nobody else changes the SR, makes this throw Refused("sm-operation") and leave the rest undone.
void complete(const Step& step, const journal::Operation& operation, MergeContext& context);

} // namespace coppice
