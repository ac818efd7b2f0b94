#include "format/base/file_device.h"

#include "format/base/crash_point.h"
#include "format/base/error.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace coppice {
namespace {

// Zeroes that are written rather than punched come from here.
constexpr std::size_t zero_buffer_size = 64 * 1024;
// Pages are what file systems can free; a smaller hole costs a call and frees nothing.
constexpr Bytes punch_grain = 4_KiB;

std::string at(Bytes offset) {
    return "at byte " + std::to_string(offset.count());
}

off_t as_offset(Bytes offset) {
    return static_cast<off_t>(offset.count());
}

} // namespace

FileDevice::FileDevice(UniqueFd fd, std::string name) : fd_{std::move(fd)}, name_{std::move(name)} {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) throw SystemError::from_errno("read status", name_);
    if (S_ISREG(status.st_mode)) {
        size_ = Bytes{static_cast<std::uint64_t>(status.st_size)};
        return;
    }
    if (!S_ISBLK(status.st_mode)) throw Unsupported{name_, "neither a regular file nor a block device"};
    fixed_size_ = true;
    can_punch_ = false; // a discard does not promise zeros
    std::uint64_t bytes = 0;
    if (::ioctl(fd_.get(), BLKGETSIZE64, &bytes) != 0) throw SystemError::from_errno("read device size", name_);
    size_ = Bytes{bytes};
}

void FileDevice::read(std::span<const ReadRequest> requests) const {
    for (const ReadRequest& request : requests) {
        std::size_t done = 0;
        while (done < request.buffer.size()) {
            const Bytes offset = request.offset + Bytes{done};
            const ssize_t count =
                ::pread(fd_.get(), request.buffer.data() + done, request.buffer.size() - done, as_offset(offset));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) throw SystemError::from_errno("read " + at(offset), name_);
            if (count == 0)
                throw SystemError{"read " + at(offset), name_ + ": the file ends here, it was longer before",
                                  std::make_error_code(std::errc::io_error)};
            done += static_cast<std::size_t>(count);
        }
    }
}

void FileDevice::write(std::span<const WriteRequest> requests) {
    known_data_ = {};
    for (const WriteRequest& request : requests) {
        about_to_change();
        std::size_t done = 0;
        while (done < request.buffer.size()) {
            const Bytes offset = request.offset + Bytes{done};
            const ssize_t count =
                ::pwrite(fd_.get(), request.buffer.data() + done, request.buffer.size() - done, as_offset(offset));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) throw SystemError::from_errno("write " + at(offset), name_);
            done += static_cast<std::size_t>(count);
        }
        size_ = std::max(size_, request.offset + Bytes{request.buffer.size()});
    }
}

void FileDevice::flush() {
    about_to_change();
    if (::fdatasync(fd_.get()) != 0) throw SystemError::from_errno("flush", name_);
}

void FileDevice::set_size(Bytes size) {
    if (fixed_size_) throw Unsupported{name_, "a block device cannot be resized through its node"};
    known_data_ = {};
    about_to_change();
    if (::ftruncate(fd_.get(), as_offset(size)) != 0)
        throw SystemError::from_errno("set size to " + std::to_string(size.count()), name_);
    size_ = size;
}

void FileDevice::write_zeros(ByteRange range) {
    static const std::vector<std::byte> zeros(zero_buffer_size);
    for (Bytes offset = range.begin; offset < range.end;) {
        const Bytes length = std::min(range.end - offset, Bytes{zeros.size()});
        write_at(offset, std::span{zeros}.first(length.count()));
        offset += length;
    }
}

void FileDevice::zero(ByteRange range) {
    if (range.empty()) return;
    if (!fixed_size_ && range.end > size_) {
        const ByteRange inside{std::min(range.begin, size_), size_};
        set_size(range.end);
        range = intersection(range, inside);
        if (range.empty()) return;
    }
    const ByteRange pages{round_up(range.begin, punch_grain), round_down(range.end, punch_grain)};
    if (!can_punch_ || pages.begin >= pages.end) return write_zeros(range);
    known_data_ = {};
    about_to_change();
    if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, as_offset(pages.begin),
                    as_offset(pages.length())) != 0) {
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            throw SystemError::from_errno("punch hole " + at(pages.begin), name_);
        can_punch_ = false;
        return write_zeros(range);
    }
    write_zeros({range.begin, pages.begin});
    write_zeros({pages.end, range.end});
}

std::optional<ByteRange> FileDevice::next_data(Bytes from) const {
    if (from >= size_) return std::nullopt;
    if (fixed_size_) return ByteRange{from, size_};
    if (known_data_.contains(from)) return ByteRange{from, known_data_.end};
    const off_t data = ::lseek(fd_.get(), as_offset(from), SEEK_DATA);
    if (data < 0) {
        if (errno == ENXIO) return std::nullopt;
        return ByteRange{from, size_}; // a file system without holes
    }
    const off_t hole = ::lseek(fd_.get(), data, SEEK_HOLE);
    const Bytes end = hole < 0 ? size_ : std::min(size_, Bytes{static_cast<std::uint64_t>(hole)});
    known_data_ = {Bytes{static_cast<std::uint64_t>(data)}, end};
    return known_data_;
}

bool FileDevice::share(const BlockDevice& source, Bytes source_offset, ByteRange target) {
    if (source.descriptor() < 0 || fixed_size_) return false;
    struct file_clone_range clone {};
    clone.src_fd = source.descriptor();
    clone.src_offset = source_offset.count();
    clone.src_length = target.length().count();
    clone.dest_offset = target.begin.count();
    about_to_change();
    if (::ioctl(fd_.get(), FICLONERANGE, &clone) != 0) return false;
    known_data_ = {};
    size_ = std::max(size_, target.end);
    return true;
}

FileIdentity FileDevice::identity() const {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) throw SystemError::from_errno("read status", name_);
    return {fixed_size_ ? static_cast<std::uint64_t>(status.st_rdev) : static_cast<std::uint64_t>(status.st_dev),
            fixed_size_ ? 0 : static_cast<std::uint64_t>(status.st_ino), size_.count(),
            static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::optional<std::int64_t> FileDevice::changed_ns() const {
    if (fixed_size_) return std::nullopt; // of a device node, not of what the device holds
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) throw SystemError::from_errno("read status", name_);
    return static_cast<std::int64_t>(status.st_ctim.tv_sec) * 1'000'000'000 + status.st_ctim.tv_nsec;
}

} // namespace coppice
