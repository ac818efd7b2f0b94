// JSON as it is promised to scripts: the objects of the verbs, and how they are printed.
#pragma once

#include "coalesce/plan.h"
#include "format/check.h"
#include "gc/base/exit_status.h"
#include "gc/base/sr_name.h"
#include "gc/cycle/cycle.h"

#include <boost/json/fwd.hpp>
#include <boost/json/object.hpp>

#include <iosfwd>
#include <span>
#include <string>
#include <string_view>

namespace coppice {

/// {"schema":1}
boost::json::object new_document();
/// Indented by two blanks, keys in the order in which they were put in, a line end at the end.
void print_json(std::ostream& out, const boost::json::value& document);

boost::json::object error_json(const Failure& failure);
boost::json::array skipped_json(std::span<const Skipped> skipped);
boost::json::object plan_json(const Plan& plan);
/// "done", "failed" and "skipped".
boost::json::object outcome_json(const Outcome& outcome);
boost::json::object tree_json(const SrTree& tree, const SrLocation& sr);
boost::json::object check_json(std::string_view path, const CheckReport& report);

/// `text` with everything that is not UTF-8 replaced, so that a hostile name cannot make the document unreadable.
std::string valid_utf8(std::string_view text);

} // namespace coppice
