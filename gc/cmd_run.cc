#include "gc/command.h"
#include "gc/verb_support.h"

#include <boost/program_options.hpp>

namespace coppice {

namespace po = boost::program_options;

void describe_run(po::options_description& options) {
    options.add_options()("once", po::bool_switch(), "one cycle, until nothing is left to do, then exit")(
        "rate", po::value<std::string>()->value_name("BYTES/S"), "copy no faster than this");
    add_dry_run(options);
}

ExitStatus run_run(const Invocation& invocation) {
    if (!invocation.flag("once"))
        throw UsageError{"run needs --once: running as a service that waits for work is not offered by this version"};
    the_sr(invocation);
    return act_on_sr(invocation, "run", Policy{}, MergeOptions{}, rate_option(invocation));
}

} // namespace coppice
