#include "lvm/error.h"

#include <algorithm>
#include <sstream>

namespace coppice::lvm {
namespace {

constexpr std::size_t longest_line = 300;

std::string printable(std::string line) {
    if (line.size() > longest_line) line.resize(longest_line);
    for (char& c : line)
        if (c < ' ' || c > '~') c = '?';
    return line;
}

std::string how_it_ended(int status) {
    return status > 128 ? "ended by signal " + std::to_string(status - 128) : "exit status " + std::to_string(status);
}

} // namespace

std::string telling_line(const CommandResult& result) {
    std::istringstream lines{result.errors};
    std::string last, warning;
    for (std::string line; std::getline(lines, line);) {
        line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
        if (line.empty()) continue;
        (line.starts_with("WARNING") ? warning : last) = line;
    }
    return printable(last.empty() ? warning : last);
}

bool is_metadata_in_flux(const CommandResult& result) {
    for (const char* const sign : {"Incorrect checksum in metadata area header", "Checksum error"})
        if (result.errors.find(sign) != std::string::npos || result.output.find(sign) != std::string::npos) return true;
    return false;
}

CommandFailed::CommandFailed(const std::string& attempt, const std::string& object, const Command& command,
                             const CommandResult& result)
    : Error{attempt + ": " + object + ": " + command.program() + ": " + how_it_ended(result.status) +
            (telling_line(result).empty() ? "" : ": " + telling_line(result))},
      status_{result.status} {}

CommandTimedOut::CommandTimedOut(const Command& command)
    : Error{"run " + command.program() + ": " + command.text() + ": no end after " +
            std::to_string(command.limit.count()) + " ms"} {}

BadReport::BadReport(const std::string& group, const std::string& place, const std::string& cause)
    : Error{"understand report: " + group + ": " + printable(place) + ": " + printable(cause)} {}

GroupChanged::GroupChanged(const std::string& group, std::uint64_t expected, std::uint64_t found)
    : GroupChanged{group, "sequence number " + std::to_string(found) + " instead of " + std::to_string(expected)} {}

GroupChanged::GroupChanged(const std::string& group, const std::string& how)
    : Error{"read through extent map: " + group + ": changed meanwhile: " + how} {}

} // namespace coppice::lvm
