// How a service is set up: from the command line, else from the file of its SR, else from the file for all SRs.
//
// The files are <directory>/<key>.conf and <directory>/coppice.conf, lines of "name = value" with the names of the
// options of `coppice run`; they are read again on a reload.
#pragma once

#include "coalesce/schedule.h"
#include "format/base/units.h"

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>

#include <optional>
#include <string>

namespace coppice {

struct ServiceConfig {
    UnixSeconds idle = 300; ///< seconds between two looks at the SR where nothing else wakes the service
    std::optional<Bytes> rate;
    std::optional<Window> window;
    DangerLines danger;
    unsigned jobs = 1; ///< at most so many trees are worked on at a time; one is, so far
};

/// 1 to 64; throws std::invalid_argument.
unsigned parse_jobs(const std::string& text);

/// The options that may stand in a file as well.
void describe_config(boost::program_options::options_description& options);

/// `given` are the values of the command line. Throws UsageError naming the file or option that is wrong.
ServiceConfig load_config(const boost::program_options::variables_map& given, const std::string& directory,
                          const std::string& key);

} // namespace coppice
