#include "format/base/log.h"
#include "gc/service/resident_memory.h"
#include "gc/service/service.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/program_options.hpp>

namespace coppice {

namespace po = boost::program_options;

void describe_run(po::options_description& options) {
    options.add_options()("once", po::bool_switch(), "one cycle, until nothing is left to do, then exit")(
        "discard", po::bool_switch(), "discard extents that become free (LVM)");
    describe_config(options);
    options.add_options()("config", po::value<std::string>()->default_value("/etc/coppice")->value_name("DIR"),
                          "where the service's configuration files are");
    add_dry_run(options);
}

namespace {

ExitStatus run_once(const Invocation& invocation) {
    for (const char* const option : {"idle", "window", "danger-depth"})
        if (invocation.has(option)) throw UsageError{"--once and --" + std::string{option} + " do not go together"};
    if (invocation.has("jobs")) {
        try {
            parse_jobs(invocation.text("jobs"));
        } catch (const std::invalid_argument& error) {
            throw UsageError{std::string{"--jobs: "} + error.what()};
        }
    }
    WorkWish wish;
    wish.verb = "run";
    wish.rate = rate_option(invocation);
    return act_on_sr(invocation, std::move(wish));
}

} // namespace

ExitStatus run_run(const Invocation& invocation) {
    const SrLocation sr = the_sr(invocation);
    if (invocation.flag("once")) return run_once(invocation);
    if (invocation.flag("dry-run")) throw UsageError{"--dry-run goes with --once; 'coppice plan' shows the same"};
    // Nobody looks at a service while it works: what it does has to stand in the log afterwards.
    if (invocation.common.verbosity == 0) log::start(log::Severity::info);
    keep_memory_returnable();
    Service service{invocation.arguments.front(), sr, session_options(invocation),
                    [values = invocation.values, key = state_key(sr)] {
                        return load_config(values, values["config"].as<std::string>(), key);
                    }};
    service.run();
    return ExitStatus::done;
}

} // namespace coppice
