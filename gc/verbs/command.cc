#include "gc/verbs/command.h"

#include "format/base/log.h"
#include "gc/base/text_output.h"
#include "gc/base/version.h"
#include "gc/service/json_output.h"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <iostream>
#include <unistd.h>

namespace coppice {
namespace {

namespace po = boost::program_options;

constexpr std::array commands{
    Command{"run", "<sr>", "tend an SR: collect garbage and coalesce", describe_run, run_run},
    Command{"tree", "<sr>", "show the chains with format, sizes and flags", describe_tree, run_tree},
    Command{"plan", "<sr>", "show the priced steps that run would take now", describe_plan, run_plan},
    Command{"space", "<sr> [VDI...]", "show what VDIs cost, and what deleting them would yield", describe_space,
            run_space},
    Command{"coalesce", "<sr> [VDI...]", "coalesce now", describe_coalesce, run_coalesce},
    Command{"collect", "<sr> [VDI...]", "delete garbage only", describe_collect, run_collect},
    Command{"status", "[<sr>]", "show what is running and what waits", describe_status, run_status},
    Command{"explain", "<sr> [VDI]", "show why a VDI is or is not worked on", describe_explain, run_explain},
    Command{"history", "<sr>", "show what was done", describe_history, run_history},
    Command{"pause", "<sr>", "begin nothing for a time", describe_pause, run_pause},
    Command{"resume", "<sr>", "end a pause", describe_resume, run_resume},
    Command{"hold", "<sr> VDI", "leave a chain alone for a time", describe_hold, run_hold},
    Command{"release", "<sr> HOLD", "end a hold", describe_release, run_release},
    Command{"kick", "<sr>", "let the service look at its SR now", describe_kick, run_kick},
    Command{"metrics", "<sr>", "print figures as OpenMetrics text", describe_metrics, run_metrics},
    Command{"check", "<sr>|FILE...", "verify images; damage is listed, not fixed", describe_check, run_check},
    Command{"read", "FILE", "print what a guest reads from the leaf of a chain", describe_read, run_read},
};

void print_help(std::ostream& out) {
    out << "usage: coppice VERB [OPTIONS] ARGUMENTS\n\n"
           "Merges the snapshot trees of an XCP-ng storage repository.\n\nVerbs:\n";
    for (const Command& command : commands) {
        std::string head{command.name};
        head += ' ';
        head += command.synopsis;
        out << "  " << head << std::string(head.size() < 26 ? 26 - head.size() : 1, ' ') << command.summary << '\n';
    }
    out << "\n'coppice VERB --help' lists the options of a verb; 'coppice --version' prints the version.\n"
           "<sr> is the UUID of an SR or a directory that holds images.\n";
}

void print_help(const Command& command, const po::options_description& own, std::ostream& out) {
    out << "usage: coppice " << command.name << " [OPTIONS] " << command.synopsis << "\n\n"
        << command.summary << "\n\n";
    if (!own.options().empty()) out << own << '\n';
    out << common_options();
}

/// Before the options are parsed, or when they cannot be, an error must still know whether to speak JSON.
bool asks_for_json(const std::vector<std::string>& words) {
    const auto end = std::ranges::find(words, "--");
    return std::find(words.begin(), end, "--json") != end;
}

ExitStatus report(const Failure& failure, bool json) {
    std::cout.flush();
    std::cerr << "coppice: " << printable(failure.text);
    if (failure.status == ExitStatus::refused && failure.text.find(failure.code) == failure.text.npos)
        std::cerr << " (" << failure.code << ')';
    std::cerr << '\n';
    if (failure.status == ExitStatus::usage) std::cerr << "coppice: try 'coppice --help'\n";
    if (json) print_json(std::cout, error_json(failure));
    return failure.status;
}

log::Severity least_severity(unsigned verbosity) {
    if (verbosity == 0) return log::Severity::warning;
    return verbosity == 1 ? log::Severity::info : log::Severity::debug;
}

/// Where the storage manager is installed, its log is where people look; unless they do not want one.
bool is_xcp_host() {
    return ::access("/opt/xensource/sm", F_OK) == 0 && ::access("/etc/xensource/no_sm_log", F_OK) != 0;
}

ExitStatus dispatch(const std::vector<std::string>& words, std::string& object) {
    if (words.empty()) throw UsageError{"a verb is missing"};
    if (words.front() == "--help" || words.front() == "help") {
        print_help(std::cout);
        return ExitStatus::done;
    }
    if (words.front() == "--version") {
        std::cout << "coppice " << version << '\n';
        return ExitStatus::done;
    }
    if (words.front().starts_with("-"))
        throw UsageError{"the verb comes first, before the option '" + words.front() + "'"};
    const Command* const command = find_command(words.front());
    if (command == nullptr) throw UsageError{"unknown verb '" + words.front() + "'"};

    po::options_description own{"Options of " + std::string{command->name}};
    command->describe(own);
    const Invocation invocation = parse_invocation({words.begin() + 1, words.end()}, own);
    if (invocation.common.help) {
        print_help(*command, own, std::cout);
        return ExitStatus::done;
    }
    if (!invocation.arguments.empty()) object = invocation.arguments.front();
    if (!invocation.common.xapi.empty() && invocation.common.xapi != "none")
        throw CommandFailed{{ExitStatus::unreachable, "xapi-unreachable",
                             "this version cannot talk to XAPI; use --xapi none", invocation.common.xapi}};
    log::start(least_severity(invocation.common.verbosity));
    if (is_xcp_host()) log::start_host_log(log::Severity::info);
    return command->run(invocation);
}

} // namespace

std::span<const Command> all_commands() {
    return commands;
}

const Command* find_command(std::string_view name) {
    const auto place = std::ranges::find(commands, name, &Command::name);
    return place == commands.end() ? nullptr : &*place;
}

ExitStatus run_command_line(const std::vector<std::string>& words) {
    std::string object;
    try {
        const ExitStatus status = dispatch(words, object);
        std::cout.flush();
        if (!std::cout) throw SystemError::from_errno("write", "standard output");
        return status;
    } catch (const std::exception& error) { // StopRequested among them: this is the end of the line for it
        return report(failure_of(error, object), asks_for_json(words));
    }
}

} // namespace coppice
