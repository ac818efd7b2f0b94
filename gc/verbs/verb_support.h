// What several verbs have in common: the SR they were given, the policy that options express, and how an outcome is
// told.
#pragma once

#include "gc/base/exit_status.h"
#include "gc/base/options.h"
#include "gc/cycle/session.h"
#include "gc/service/work_message.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice {

/// The only argument. Throws UsageError where there is none, or more.
SrLocation the_sr(const Invocation& invocation);
/// The first of several arguments.
SrLocation first_sr(const Invocation& invocation);

/// --rate, where it was given. Throws UsageError.
std::optional<Bytes> rate_option(const Invocation& invocation);

SessionOptions session_options(const Invocation& invocation);

/// The VDIs that follow the SR on the command line, as the user named them.
std::vector<std::string> named_vdis(const Invocation& invocation);

/// --dry-run: what the wish would do, and nothing else. Otherwise does it, or lets the service of the SR do it, with
/// progress on standard error and the outcome on standard output. `wish.vdis` comes from the command line.
ExitStatus act_on_sr(const Invocation& invocation, WorkWish wish);

} // namespace coppice
