#include "gc/service/json_output.h"
#include "gc/verbs/command.h"
#include "gc/verbs/tree_render.h"
#include "gc/verbs/verb_support.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>

#include <iostream>
#include <unistd.h>

namespace coppice {

namespace po = boost::program_options;

void describe_tree(po::options_description& options) {
    options.add_options()("format", po::value<std::string>()->default_value("text")->value_name("FORMAT"),
                          "text, json, dot (for Graphviz) or svg");
}

ExitStatus run_tree(const Invocation& invocation) {
    std::string format = invocation.text("format");
    if (format != "text" && format != "json" && format != "dot" && format != "svg")
        throw UsageError{"--format takes text, json, dot or svg, not '" + format + "'"};
    if (invocation.common.json) format = "json";
    const SrLocation sr = the_sr(invocation);
    Session session{sr, session_options(invocation), Session::Intent::look, "tree"};
    const SrTree tree = session.tree();
    if (format == "json")
        print_json(std::cout, tree_json(tree, sr));
    else if (format == "dot")
        std::cout << tree_dot(tree, sr.name);
    else if (format == "svg")
        std::cout << tree_svg(tree, sr.name);
    else
        std::cout << tree_text(tree, sr.name, use_color(invocation.common.color, STDOUT_FILENO));
    return ExitStatus::done;
}

} // namespace coppice
