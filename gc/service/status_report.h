// The state of an SR's service as a document and as text.
#pragma once

#include "coalesce/explain.h"
#include "gc/service/control_message.h"
#include "gc/service/status_board.h"

#include <string>

namespace coppice {

boost::json::object status_json(const std::string& sr, const ServiceStatus& status);
/// Several lines for people.
std::string status_text(const std::string& sr, const ServiceStatus& status, UnixSeconds now);
/// One line: what is being done, or what is waited for.
std::string status_line(const ServiceStatus& status);

/// The document of `explain` for one VDI.
boost::json::object explanation_json(const Explanation& explanation);
Reply explanation_reply(const Explanation& explanation);

} // namespace coppice
