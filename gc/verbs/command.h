// The verbs: one row of a table for each, with its own options and the function that carries it out.
#pragma once

#include "gc/base/exit_status.h"
#include "gc/base/options.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

struct Command {
    std::string_view name;
    std::string_view synopsis; ///< what follows the verb on its usage line, without options
    std::string_view summary;
    void (*describe)(boost::program_options::options_description& options);
    /// Results go to standard output, everything else to standard error. Throws UsageError and Error.
    ExitStatus (*run)(const Invocation& invocation);
};

/// In the order in which the help lists them.
std::span<const Command> all_commands();
const Command* find_command(std::string_view name);

/// Carries out a whole command line, `words` being what follows the program's name, and reports every error in the way
/// that users may rely on. Never throws.
ExitStatus run_command_line(const std::vector<std::string>& words);

// One function pair for each verb, in the file cmd_<verb>.cc (cmd_pause.cc for the four that write something down).
void describe_tree(boost::program_options::options_description& options);
ExitStatus run_tree(const Invocation& invocation);
void describe_plan(boost::program_options::options_description& options);
ExitStatus run_plan(const Invocation& invocation);
void describe_space(boost::program_options::options_description& options);
ExitStatus run_space(const Invocation& invocation);
void describe_run(boost::program_options::options_description& options);
ExitStatus run_run(const Invocation& invocation);
void describe_coalesce(boost::program_options::options_description& options);
ExitStatus run_coalesce(const Invocation& invocation);
void describe_collect(boost::program_options::options_description& options);
ExitStatus run_collect(const Invocation& invocation);
void describe_check(boost::program_options::options_description& options);
ExitStatus run_check(const Invocation& invocation);
void describe_read(boost::program_options::options_description& options);
ExitStatus run_read(const Invocation& invocation);
void describe_status(boost::program_options::options_description& options);
ExitStatus run_status(const Invocation& invocation);
void describe_explain(boost::program_options::options_description& options);
ExitStatus run_explain(const Invocation& invocation);
void describe_history(boost::program_options::options_description& options);
ExitStatus run_history(const Invocation& invocation);
void describe_pause(boost::program_options::options_description& options);
ExitStatus run_pause(const Invocation& invocation);
void describe_resume(boost::program_options::options_description& options);
ExitStatus run_resume(const Invocation& invocation);
void describe_hold(boost::program_options::options_description& options);
ExitStatus run_hold(const Invocation& invocation);
void describe_release(boost::program_options::options_description& options);
ExitStatus run_release(const Invocation& invocation);
void describe_metrics(boost::program_options::options_description& options);
ExitStatus run_metrics(const Invocation& invocation);
void describe_kick(boost::program_options::options_description& options);
ExitStatus run_kick(const Invocation& invocation);

} // namespace coppice
