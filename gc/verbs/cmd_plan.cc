#include "coalesce/plan_text.h"
#include "gc/cycle/journal_director.h"
#include "gc/service/json_output.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/json.hpp>

#include <iostream>

namespace coppice {

void describe_plan(boost::program_options::options_description&) {}

ExitStatus run_plan(const Invocation& invocation) {
    const SrLocation sr = the_sr(invocation);
    Session session{sr, session_options(invocation), Session::Intent::look, "plan"};
    JournalDirector director{{}, session.journal(), false};
    const Plan plan = session.plan(director);
    if (invocation.common.json)
        print_json(std::cout, plan_json(plan));
    else
        std::cout << to_text(plan);
    return ExitStatus::done;
}

} // namespace coppice
