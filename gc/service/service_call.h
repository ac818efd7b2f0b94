// How a verb reaches the service of its SR, and what it does where there is none.
#pragma once

#include "gc/base/options.h"
#include "gc/cycle/session.h"
#include "gc/service/control_client.h"
#include "gc/service/work_message.h"

#include <optional>

namespace coppice {

std::optional<ControlClient> find_service(const Invocation& invocation, const SrLocation& sr);

/// Prints an answer as every verb does: document or text on standard output, a failure on standard error as well.
ExitStatus print_reply(const Reply& reply, bool json);

/// Lets the service do the work, with its progress on standard error.
Reply let_work(ControlClient& service, const WorkWish& wish);

/// Who changes the SR just now, from the lock file; nullopt: nobody.
std::optional<std::string> who_works(const Invocation& invocation, const SrLocation& sr);

/// The user who called, for holds and pauses.
std::string caller();

} // namespace coppice
