// Work that an administrator asks for, and how it goes on, as messages on the control socket.
#pragma once

#include "coalesce/merge_context.h"
#include "coalesce/plan.h"
#include "coalesce/progress.h"

#include <boost/json/object.hpp>

#include <optional>
#include <string>
#include <vector>

namespace coppice {

struct WorkWish {
    std::string verb;
    Policy policy; ///< direction and the kinds of steps; `only` stays empty
    MergeOptions merge;
    std::optional<Bytes> rate;
    std::vector<std::string> vdis; ///< as the user named them
};

boost::json::object to_request(const WorkWish& wish);
/// Throws Error saying what is wrong.
WorkWish work_wish(const boost::json::object& request);

boost::json::object began_json(const Step& step, std::size_t index, std::size_t count);
boost::json::object advanced_json(Bytes done, Bytes total);
boost::json::object ended_json(const StepResult& result);
/// Tells `progress` what one of the three says; anything else is passed over.
void replay(const boost::json::object& message, Progress& progress);

} // namespace coppice
