#include "gc/volumes/volume_device.h"

#include "format/base/error.h"
#include "lvm/extent_device.h"

#include <array>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace coppice {
namespace {

// Documentation/block/stat.rst: read I/Os, merges, sectors, ticks; write I/Os, merges, sectors, ticks; in flight, two
// times; discard I/Os, merges, sectors (4.18), ticks.
constexpr std::size_t written_sectors = 6;
constexpr std::size_t discarded_sectors = 13;

std::int64_t changes(dev_t device, const std::string& name) {
    const std::string path =
        "/sys/dev/block/" + std::to_string(major(device)) + ':' + std::to_string(minor(device)) + "/stat";
    std::ifstream file{path};
    std::array<std::uint64_t, discarded_sectors + 1> fields{};
    std::size_t count = 0;
    while (count < fields.size() && file >> fields[count])
        ++count;
    if (count <= written_sectors)
        throw SystemError{"read what was written to " + name, path, std::make_error_code(std::errc::io_error)};
    return static_cast<std::int64_t>(fields[written_sectors] + fields[discarded_sectors]);
}

} // namespace

VolumeDevice::VolumeDevice(UniqueFd fd, std::string name, std::string uuid, std::optional<std::int64_t> since,
                           std::function<void()> before_write)
    : device_{std::move(fd), std::move(name)}, uuid_{std::move(uuid)}, since_{since}, before_write_{
                                                                                          std::move(before_write)} {}

FileDevice& VolumeDevice::writable() {
    if (before_write_) before_write_();
    before_write_ = nullptr;
    return device_;
}

FileIdentity VolumeDevice::identity() const {
    if (!since_) return lvm::volume_identity(uuid_, size(), 0);
    // What somebody has written without O_DIRECT may still be in the page cache of the device, uncounted.
    if (::sync_file_range(descriptor(), 0, 0,
                          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0)
        throw SystemError::from_errno("write back", name());
    struct stat status {};
    if (::fstat(descriptor(), &status) != 0) throw SystemError::from_errno("read status", name());
    return lvm::volume_identity(uuid_, size(), *since_ + changes(status.st_rdev, name()));
}

} // namespace coppice
