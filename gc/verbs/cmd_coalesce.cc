#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"

#include <boost/program_options.hpp>

namespace coppice {

namespace po = boost::program_options;

void describe_coalesce(po::options_description& options) {
    options.add_options()                                                                                 //
        ("direction", po::value<std::string>()->default_value("auto")->value_name("DIRECTION"),           //
         "auto (the cheaper one), down (the child into its parent) or up (the parent into its child)")    //
        ("leaf", po::bool_switch(), "merge leaves with their parents, too")                               //
        ("online", po::bool_switch(), "merge below running guests, too (not in this version)")            //
        ("verify", po::bool_switch(), "read all merged data back and compare before anything is deleted") //
        ("discard", po::bool_switch(), "discard extents that become free (LVM)")                          //
        ("rate", po::value<std::string>()->value_name("BYTES/S"), "copy no faster than this");
    add_dry_run(options);
}

namespace {

DirectionPolicy parse_direction(const std::string& text) {
    if (text == "auto") return DirectionPolicy::automatic;
    if (text == "down") return DirectionPolicy::down;
    if (text == "up") return DirectionPolicy::up;
    throw UsageError{"--direction takes auto, down or up, not '" + text + "'"};
}

} // namespace

ExitStatus run_coalesce(const Invocation& invocation) {
    if (invocation.flag("online"))
        throw CommandFailed{{ExitStatus::refused, "unsupported-feature",
                             "this version cannot merge below running guests (--online); without the option it merges "
                             "what is not in use and leaves the rest alone",
                             ""}};
    WorkWish wish;
    wish.verb = "coalesce";
    wish.policy.direction = parse_direction(invocation.text("direction"));
    wish.policy.leaf_coalesce = invocation.flag("leaf");
    if (invocation.flag("verify")) wish.merge.verify = VerifyDepth::data;
    wish.rate = rate_option(invocation);
    return act_on_sr(invocation, std::move(wish));
}

} // namespace coppice
