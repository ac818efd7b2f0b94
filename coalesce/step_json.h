// A step as JSON: the fields that docs/man/coppice.8.md promises, and those that finishing it after a crash needs.
#pragma once

#include "coalesce/plan.h"

#include <boost/json/fwd.hpp>

#include <string>

namespace coppice {

boost::json::object to_json(const Step& step);
/// Throws Error on anything that to_json did not make.
Step step_from_json(const std::string& text);

} // namespace coppice
