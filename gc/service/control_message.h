// What goes over the control socket: one JSON object per line.
//
// Request: {"version":1,"verb":…, arguments}. Answer: {"progress":{…}} any number of times, then one
// {"status":EXIT,"document":{…},"text":…} or {"status":EXIT,"error":{"code","text","object"}}; both may be there when
// a part was done. docs/design/service.md.
#pragma once

#include "gc/base/exit_status.h"

#include <boost/json/object.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace coppice {

inline constexpr int control_version = 1;
/// A longer request is refused.
inline constexpr std::size_t longest_request = std::size_t{64} << 10;

/// The end of what the service has to say to a request.
struct Reply {
    ExitStatus status = ExitStatus::done;
    boost::json::object document; ///< as with --json; empty where there is nothing to show
    std::string text;             ///< the same for people
    std::optional<Failure> failure;
};

/// Without the line end.
std::string to_line(const boost::json::object& message);
boost::json::object to_json(const Reply& reply);
/// Throws Error on what to_json did not make.
Reply reply_from(const boost::json::object& message);

/// A line as a request of our version, with its verb. Throws Error saying what is wrong with it.
boost::json::object parse_request(std::string_view line);

/// An argument of a request; nullopt where it is missing. Throws Error where it is of another kind.
std::optional<std::string> text_argument(const boost::json::object& request, std::string_view name);
std::optional<std::int64_t> number_argument(const boost::json::object& request, std::string_view name);
bool flag_argument(const boost::json::object& request, std::string_view name);

} // namespace coppice
