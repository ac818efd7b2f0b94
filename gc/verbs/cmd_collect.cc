#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

namespace coppice {

void describe_collect(boost::program_options::options_description& options) {
    add_dry_run(options);
}

ExitStatus run_collect(const Invocation& invocation) {
    WorkWish wish;
    wish.verb = "collect";
    wish.policy.coalesce = false;
    wish.policy.leaf_coalesce = false;
    return act_on_sr(invocation, std::move(wish));
}

} // namespace coppice
