#include "gc/base/options.h"

#include <boost/program_options.hpp>

#include <charconv>
#include <cstdlib>
#include <string_view>
#include <unistd.h>

namespace coppice {

namespace po = boost::program_options;

po::options_description common_options() {
    po::options_description options{"Options of every verb"};
    options.add_options()                                                                             //
        ("json", po::bool_switch(), "print one JSON object")                                          //
        ("state-dir", po::value<std::string>()->default_value("/var/lib/coppice")->value_name("DIR"), //
         "where the journal is kept")                                                                 //
        ("run-dir", po::value<std::string>()->default_value("/run/coppice")->value_name("DIR"),       //
         "where locks and sockets are kept")                                                          //
        ("xapi", po::value<std::string>()->value_name("URL"),
         "XAPI to ask, or none (default: the local socket if it exists)")("exclusive", po::bool_switch(),
                                                                          "no other host uses this SR") //
        ("color", po::value<std::string>()->default_value("auto")->value_name("WHEN"),
         "auto, always or never")("verbose,v", "say more on stderr") //
        ("help", po::bool_switch(), "print this and exit");
    return options;
}

void add_dry_run(po::options_description& options) {
    options.add_options()("dry-run", po::bool_switch(), "say what would be done and write nothing at all");
}

namespace {

/// -v, -vv and repeated -v all count; program_options refuses the repetition, so they are taken out before.
unsigned take_verbosity(std::vector<std::string>& words) {
    unsigned count = 0;
    bool options_end = false;
    std::erase_if(words, [&](const std::string& word) {
        if (word == "--") options_end = true;
        if (options_end) return false;
        if (word == "--verbose") return ++count, true;
        if (word.size() < 2 || word[0] != '-' || word.find_first_not_of('v', 1) != word.npos) return false;
        count += static_cast<unsigned>(word.size() - 1);
        return true;
    });
    return count;
}

ColorChoice parse_color(const std::string& text) {
    if (text == "auto") return ColorChoice::automatic;
    if (text == "always") return ColorChoice::always;
    if (text == "never") return ColorChoice::never;
    throw UsageError{"--color takes auto, always or never, not '" + text + "'"};
}

} // namespace

Invocation parse_invocation(const std::vector<std::string>& words, const po::options_description& own) {
    Invocation result;
    auto given = words;
    result.common.verbosity = take_verbosity(given);

    po::options_description all;
    all.add(own).add(common_options());
    po::options_description hidden;
    hidden.add_options()("argument", po::value<std::vector<std::string>>());
    all.add(hidden);
    po::positional_options_description positional;
    positional.add("argument", -1);
    try {
        // A long option is written with two dashes, and its value is never taken from a shortened name.
        const auto style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
        po::store(po::command_line_parser(given).options(all).positional(positional).style(style).run(), result.values);
        po::notify(result.values);
    } catch (const po::error& error) {
        throw UsageError{error.what()};
    }
    const auto& values = result.values;
    result.common.json = values["json"].as<bool>();
    result.common.state_dir = values["state-dir"].as<std::string>();
    result.common.run_dir = values["run-dir"].as<std::string>();
    if (values.count("xapi") != 0) result.common.xapi = values["xapi"].as<std::string>();
    result.common.exclusive = values["exclusive"].as<bool>();
    result.common.color = parse_color(values["color"].as<std::string>());
    result.common.help = values["help"].as<bool>();
    if (values.count("argument") != 0) result.arguments = values["argument"].as<std::vector<std::string>>();
    for (const std::string& argument : result.arguments)
        if (argument.empty()) throw UsageError{"an argument is empty"};
    return result;
}

std::uint64_t parse_size(const std::string& text, const std::string& option) {
    std::uint64_t number = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string_view unit{rest, static_cast<std::size_t>(text.data() + text.size() - rest)};
    if (error == std::errc{}) {
        if (unit.ends_with("iB")) unit.remove_suffix(2);
        if (unit.empty()) return number;
        const auto power = std::string_view{"KMGTP"}.find(unit.front());
        std::uint64_t result = 0;
        if (unit.size() == 1 && power != std::string_view::npos &&
            !__builtin_mul_overflow(number, std::uint64_t{1} << (10 * (power + 1)), &result))
            return result;
    }
    throw UsageError{"--" + option + " takes a number of bytes such as 4096, 64M or 2G, not '" + text + "'"};
}

bool use_color(ColorChoice choice, int descriptor) {
    if (choice != ColorChoice::automatic) return choice == ColorChoice::always;
    const char* const no_color = std::getenv("NO_COLOR");
    if (no_color != nullptr && *no_color != '\0') return false;
    const char* const terminal = std::getenv("TERM");
    return ::isatty(descriptor) == 1 && terminal != nullptr && std::string_view{terminal} != "dumb";
}

} // namespace coppice
