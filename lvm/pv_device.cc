#include "lvm/pv_device.h"

#include "lvm/error.h"

#include <algorithm>
#include <boost/endian/buffers.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace coppice::lvm {
namespace {

constexpr Bytes largest_read = 1_MiB;
constexpr Bytes file_alignment = 4_KiB;

/// Source: LVM 2.03.16, lib/label/label.h and lib/format_text/layout.h; in one of the first four sectors.
struct Label {
    char id[8]; // "LABELONE"
    boost::endian::little_uint64_buf_t sector;
    boost::endian::little_uint32_buf_t crc;
    boost::endian::little_uint32_buf_t offset; // of the PV header, from the start of the label
    char type[8];                              // "LVM2 001"
};
static_assert(sizeof(Label) == 32);
constexpr std::size_t label_sectors = 4;
constexpr std::size_t uuid_length = 32;

struct Freed {
    void operator()(void* memory) const { std::free(memory); }
};

/// With hyphens, as reports have it, or without, as the label has it.
bool same_uuid(std::string_view reported, std::string_view stored) {
    std::string plain{reported};
    std::erase(plain, '-');
    return plain == stored;
}

std::optional<PvLabel> label_in(std::span<const std::byte> sector, const PvRow& pv) {
    Label label{};
    std::memcpy(&label, sector.data(), sizeof label);
    if (std::memcmp(label.id, "LABELONE", sizeof label.id) != 0) return std::nullopt;
    if (std::memcmp(label.type, "LVM2 001", sizeof label.type) != 0) return std::nullopt;
    const std::size_t header = label.offset.value();
    if (header > sector.size() - uuid_length - sizeof(std::uint64_t)) return std::nullopt;
    if (!same_uuid(pv.uuid, {reinterpret_cast<const char*>(sector.data() + header), uuid_length})) return std::nullopt;
    return PvLabel{sector, header + uuid_length + sizeof(std::uint64_t)}; // behind the size of the device
}

} // namespace

PvDevice::PvDevice(UniqueFd fd, std::string name)
    : ReadOnlyDevice{name,
                     [&] {
                         const off_t end = ::lseek(fd.get(), 0, SEEK_END);
                         if (end < 0) throw SystemError::from_errno("read device size", name);
                         return Bytes{static_cast<std::uint64_t>(end)};
                     }()},
      fd_{std::move(fd)}, alignment_{file_alignment} {
    int sector = 0;
    if (::ioctl(fd_.get(), BLKSSZGET, &sector) == 0 && sector > 0) alignment_ = Bytes{static_cast<unsigned>(sector)};
}

void PvDevice::read_aligned(Bytes offset, std::span<std::byte> buffer) const {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const ssize_t count = ::pread(fd_.get(), buffer.data() + done, buffer.size() - done,
                                      static_cast<off_t>((offset + Bytes{done}).count()));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw SystemError::from_errno("read at byte " + std::to_string(offset.count()), name());
        if (count == 0)
            throw SystemError{"read at byte " + std::to_string(offset.count()), name() + ": it ends here",
                              std::make_error_code(std::errc::io_error)};
        done += static_cast<std::size_t>(count);
    }
}

void PvDevice::read(std::span<const ReadRequest> requests) const {
    std::unique_ptr<std::byte, Freed> memory;
    std::size_t capacity = 0;
    for (const ReadRequest& request : requests) {
        for (std::size_t done = 0; done < request.buffer.size();) {
            const Bytes offset = request.offset + Bytes{done};
            const Bytes begin = round_down(offset, alignment_);
            const Bytes wanted = std::min(Bytes{request.buffer.size() - done}, largest_read);
            const std::size_t length = (round_up(offset + wanted, alignment_) - begin).count();
            if (length > capacity) {
                memory.reset(static_cast<std::byte*>(
                    std::aligned_alloc(file_alignment.count(), round_up(Bytes{length}, file_alignment).count())));
                if (!memory) throw std::bad_alloc{};
                capacity = length;
            }
            read_aligned(begin, {memory.get(), length});
            std::memcpy(request.buffer.data() + done, memory.get() + (offset - begin).count(), wanted.count());
            done += wanted.count();
        }
    }
}

FileIdentity PvDevice::identity() const {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) throw SystemError::from_errno("read status", name());
    return {static_cast<std::uint64_t>(status.st_rdev), 0, size().count(), 0};
}

std::shared_ptr<const BlockDevice> open_pv(const PvRow& pv) {
    UniqueFd fd{::open(pv.name.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC)};
    if (!fd) throw SystemError::from_errno("open PV", pv.name);
    return std::make_shared<PvDevice>(std::move(fd), pv.name);
}

std::optional<PvLabel> find_label(std::span<const std::byte> begin, const PvRow& pv) {
    for (std::size_t number = 0; number < label_sectors; ++number)
        if (auto label = label_in(begin.subspan(number * sector_size.count(), sector_size.count()), pv)) return label;
    return std::nullopt;
}

void require_label(const BlockDevice& device, const PvRow& pv, const std::string& group) {
    const auto start = device.read_at(0_B, sector_size * label_sectors);
    if (!find_label(start, pv)) throw GroupChanged{group, pv.name + " does not have the label of PV " + pv.uuid};
}

} // namespace coppice::lvm
