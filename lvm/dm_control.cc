// Source: linux/dm-ioctl.h, version 4 of the interface; Documentation/admin-guide/device-mapper of the kernel has no
// more than that.
#include "lvm/dm_control.h"

#include "format/base/error.h"
#include "format/base/unique_fd.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>

namespace coppice::lvm {
namespace {

constexpr std::size_t first_buffer = 1U << 16;
constexpr std::size_t largest_buffer = 1U << 24; // some hundred thousand names

/// A request and the room for its answer.
class Exchange {
public:
    explicit Exchange(std::size_t size) : memory_(size / sizeof(std::uint64_t)) {
        header().version[0] = DM_VERSION_MAJOR;
        header().data_size = static_cast<std::uint32_t>(size);
        header().data_start = sizeof(dm_ioctl);
    }

    dm_ioctl& header() { return *reinterpret_cast<dm_ioctl*>(memory_.data()); }
    const char* at(std::size_t offset) const { return reinterpret_cast<const char*>(memory_.data()) + offset; }
    std::size_t size() const { return memory_.size() * sizeof(std::uint64_t); }
    bool run(int control, unsigned long request) { return ::ioctl(control, request, memory_.data()) == 0; }

private:
    std::vector<std::uint64_t> memory_; // as the kernel aligns it
};

/// nullopt, with errno, where the kernel does not take the request.
std::optional<std::vector<std::string>> names(int control) {
    for (std::size_t size = first_buffer;; size *= 4) {
        Exchange list{size};
        if (!list.run(control, DM_LIST_DEVICES)) return std::nullopt;
        if ((list.header().flags & DM_BUFFER_FULL_FLAG) != 0) {
            if (size < largest_buffer) continue;
            throw Error{"list devices: device-mapper: there are too many"};
        }
        std::vector<std::string> result;
        for (std::size_t place = list.header().data_start;;) {
            dm_name_list entry{};
            if (place + sizeof entry > list.size()) throw Error{"list devices: device-mapper: the list has no end"};
            std::memcpy(&entry, list.at(place), sizeof entry);
            const std::size_t name = place + offsetof(dm_name_list, name);
            if (entry.dev != 0) result.emplace_back(list.at(name), ::strnlen(list.at(name), list.size() - name));
            if (entry.next == 0) return result;
            place += entry.next;
        }
    }
}

/// nullopt where it is gone by now.
std::optional<DmRow> status(int control, const std::string& name) {
    Exchange answer{sizeof(dm_ioctl)};
    dm_ioctl& header = answer.header();
    if (name.size() >= sizeof header.name) throw Error{"ask for device: " + name + ": the name is too long"};
    std::memcpy(header.name, name.data(), name.size());
    if (!answer.run(control, DM_DEV_STATUS)) {
        if (errno == ENXIO) return std::nullopt;
        throw SystemError::from_errno("ask device-mapper for", name);
    }
    return DmRow{.name = name,
                 .uuid = {header.uuid, ::strnlen(header.uuid, sizeof header.uuid)},
                 .open_count = static_cast<std::uint64_t>(std::max(header.open_count, 0)),
                 .suspended = (header.flags & DM_SUSPEND_FLAG) != 0,
                 .read_only = (header.flags & DM_READONLY_FLAG) != 0};
}

} // namespace

std::optional<std::vector<DmRow>> devices_by_control(const std::string& control) {
    const UniqueFd fd{::open(control.c_str(), O_RDWR | O_CLOEXEC)};
    if (!fd) return std::nullopt;
    const auto found = names(fd.get());
    if (!found) return std::nullopt;
    std::vector<DmRow> rows;
    for (const std::string& name : *found)
        if (auto row = status(fd.get(), name)) rows.push_back(std::move(*row));
    std::ranges::sort(rows, {}, &DmRow::name);
    return rows;
}

} // namespace coppice::lvm
