#include "lvm/device_mapper.h"

#include "lvm/error.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace coppice::lvm {
namespace {

constexpr std::size_t columns = 5;

[[noreturn]] void fail(std::string_view line) {
    throw BadReport{"device-mapper", std::string{line}, "not a line of dmsetup info"};
}

DmRow parse_row(std::string_view line) {
    std::array<std::string_view, columns> fields;
    std::string_view rest = line;
    for (std::size_t i = 0; i < columns; ++i) {
        const bool last = i + 1 == columns;
        const std::size_t end = rest.find('|');
        if (last != (end == rest.npos)) fail(line);
        fields[i] = rest.substr(0, end);
        rest.remove_prefix(last ? rest.size() : end + 1);
    }
    DmRow row{.name = std::string{fields[0]}, .uuid = std::string{fields[1]}};
    const char* const end = fields[2].data() + fields[2].size();
    const auto [stopped, error] = std::from_chars(fields[2].data(), end, row.open_count);
    if (error != std::errc{} || stopped != end || row.name.empty()) fail(line);
    row.suspended = fields[3] == "Suspended";
    row.read_only = fields[4] == "Read-only";
    if ((!row.suspended && fields[3] != "Active") || (!row.read_only && fields[4] != "Writeable")) fail(line);
    return row;
}

} // namespace

std::vector<DmRow> parse_devices(std::string_view text) {
    std::vector<DmRow> rows;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line == "No devices found") continue;
        rows.push_back(parse_row(line));
    }
    std::ranges::sort(rows, {}, &DmRow::name);
    return rows;
}

std::vector<DmRow> DeviceMapper::list() const {
    if (auto rows = devices_by_control(tool_.host().devices + "/mapper/control")) return std::move(*rows);
    const Command command = tool_.reading(
        {"dmsetup", "info", "-c", "--noheadings", "--separator", "|", "-o", "name,uuid,open,suspended,readonly"});
    const CommandResult result = tool_.run_to_success("list devices", "device-mapper", command);
    if (result.cut) throw BadReport{"device-mapper", "dmsetup info", "the list is too long"};
    return parse_devices(result.output);
}

std::optional<DmRow> DeviceMapper::find(const std::string& name) const {
    const auto rows = list();
    const auto found = std::ranges::lower_bound(rows, name, {}, &DmRow::name);
    if (found == rows.end() || found->name != name) return std::nullopt;
    return *found;
}

void DeviceMapper::remove(const std::string& name) const {
    const Command command = tool_.changing({"dmsetup", "remove", name});
    const CommandResult result = tool_.run(command);
    if (result.status != 0) throw CommandFailed{"remove device", name, command, result};
}

} // namespace coppice::lvm
