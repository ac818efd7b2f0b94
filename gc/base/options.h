// The options that every verb has, and how any verb's options are read.
//
// Abbreviations are not guessed: --del must never become --delete.
#pragma once

#include "gc/base/exit_status.h"

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace coppice {

enum class ColorChoice { automatic, always, never };

struct CommonOptions {
    bool json = false;
    std::string state_dir;
    std::string run_dir;
    std::string xapi; ///< as given; empty: the local socket where it exists
    bool exclusive = false;
    ColorChoice color = ColorChoice::automatic;
    unsigned verbosity = 0;
    bool help = false;
};

/// What a verb was called with.
struct Invocation {
    CommonOptions common;
    boost::program_options::variables_map values; ///< of the verb's own options
    std::vector<std::string> arguments;           ///< that are not options, in order

    bool has(const char* option) const { return values.count(option) != 0; }
    /// An option without a value.
    bool flag(const char* option) const { return values.count(option) != 0 && values[option].as<bool>(); }
    std::string text(const char* option) const { return values[option].as<std::string>(); }
};

boost::program_options::options_description common_options();
/// An option that every verb has which changes something.
void add_dry_run(boost::program_options::options_description& options);

/// Throws UsageError.
Invocation parse_invocation(const std::vector<std::string>& words,
                            const boost::program_options::options_description& own);

/// "512", "64K", "100M", "2G", "1T", with or without "iB"; powers of 1024. Throws UsageError naming `option`.
std::uint64_t parse_size(const std::string& text, const std::string& option);

/// Whether to colour what goes to this file descriptor. NO_COLOR counts where nothing was chosen.
bool use_color(ColorChoice choice, int descriptor);

} // namespace coppice
