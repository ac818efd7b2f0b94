#include "gc/service/service_config.h"

#include "format/base/error.h"
#include "gc/base/options.h"
#include "gc/base/wall_time.h"

#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>

#include <cerrno>
#include <charconv>
#include <fstream>

namespace coppice {
namespace {

namespace po = boost::program_options;

/// Values that are there already stay.
void add_values(const po::variables_map& found, const po::options_description& known, po::variables_map& values) {
    for (const auto& [name, value] : found)
        if (known.find_nothrow(name, false) != nullptr) values.emplace(name, value);
}

void add_file(const std::string& path, const po::options_description& known, po::variables_map& values) {
    std::ifstream file{path};
    if (!file) {
        if (errno == ENOENT || errno == ENOTDIR) return;
        throw SystemError::from_errno("read", path);
    }
    try {
        po::variables_map found;
        po::store(po::parse_config_file(file, known), found);
        add_values(found, known, values);
    } catch (const po::error& error) {
        throw UsageError{path + ": " + error.what()};
    }
}

template <class Parse>
auto parsed(const po::variables_map& values, const char* name, Parse parse) {
    const std::string text = values[name].as<std::string>();
    try {
        return parse(text);
    } catch (const std::invalid_argument& error) {
        throw UsageError{"--" + std::string{name} + ": " + error.what()};
    }
}

std::size_t parse_depth(const std::string& text) {
    std::size_t depth = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), depth);
    if (error != std::errc{} || end != text.data() + text.size() || depth < 2)
        throw std::invalid_argument{"'" + text + "' is no depth of a chain, which is 2 or more"};
    return depth;
}

} // namespace

unsigned parse_jobs(const std::string& text) {
    constexpr unsigned most_jobs = 64;
    unsigned jobs = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), jobs);
    if (error != std::errc{} || end != text.data() + text.size() || jobs < 1 || jobs > most_jobs)
        throw std::invalid_argument{"'" + text + "' is no number of jobs, which is 1 to 64"};
    return jobs;
}

void describe_config(po::options_description& options) {
    options.add_options()("idle", po::value<std::string>()->value_name("SECONDS"),
                          "look at the SR at least this often (default 300)")(
        "rate", po::value<std::string>()->value_name("BYTES/S"), "copy no faster than this")(
        "window", po::value<std::string>()->value_name("HH:MM-HH:MM"), "work only in this time of the day")(
        "danger-depth", po::value<std::string>()->value_name("IMAGES"),
        "chains of so many images are worked on outside the window, too (default 24)")(
        "jobs", po::value<std::string>()->value_name("N"), "work on at most so many trees at a time (default 1)");
}

ServiceConfig load_config(const po::variables_map& given, const std::string& directory, const std::string& key) {
    po::options_description known;
    describe_config(known);
    po::variables_map values;
    add_values(given, known, values);
    add_file(directory + "/" + key + ".conf", known, values);
    add_file(directory + "/coppice.conf", known, values);

    ServiceConfig config;
    if (values.count("idle") != 0) {
        config.idle = parsed(values, "idle", parse_duration);
        if (config.idle == 0) throw UsageError{"--idle 0 would never rest"};
    }
    if (values.count("rate") != 0) {
        config.rate = Bytes{parse_size(values["rate"].as<std::string>(), "rate")};
        if (*config.rate == 0_B) throw UsageError{"--rate 0 would never end"};
    }
    if (values.count("window") != 0) config.window = parsed(values, "window", Window::parse);
    if (values.count("danger-depth") != 0) config.danger.chain_depth = parsed(values, "danger-depth", parse_depth);
    if (values.count("jobs") != 0) config.jobs = parsed(values, "jobs", parse_jobs);
    return config;
}

} // namespace coppice
