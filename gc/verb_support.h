// What several verbs have in common: the SR they were given, the policy that options express, and how an outcome is
// told.
#pragma once

#include "coalesce/verify.h"
#include "gc/exit_status.h"
#include "gc/options.h"
#include "gc/session.h"

#include <optional>
#include <string>

namespace coppice {

/// The only argument. Throws UsageError where there is none, or more.
SrLocation the_sr(const Invocation& invocation);
/// The first of several arguments.
SrLocation first_sr(const Invocation& invocation);

/// --rate, where it was given. Throws UsageError.
std::optional<Bytes> rate_option(const Invocation& invocation);

SessionOptions session_options(const Invocation& invocation);

/// UUIDs of the VDIs that follow the SR on the command line.
std::set<std::string> named_vdis(const Invocation& invocation, const SrTree& tree);

/// --dry-run: what the policy would do, and nothing else. Otherwise does it, with progress on standard error and the
/// outcome on standard output.
ExitStatus act_on_sr(const Invocation& invocation, const std::string& verb, Policy policy, const MergeOptions& merge,
                     std::optional<Bytes> rate);

/// What the user learns from the exit status where steps failed, or where what was asked for by name was left alone.
ExitStatus status_of_reason(const std::string& reason);

} // namespace coppice
