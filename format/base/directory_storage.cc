#include "format/base/directory_storage.h"

#include "format/base/crash_point.h"
#include "format/base/error.h"
#include "format/base/file_device.h"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

namespace coppice {
namespace {

StorageEntry::Kind kind_of(int directory, const dirent& entry) {
    unsigned char type = entry.d_type;
    if (type == DT_UNKNOWN) { // some file systems do not tell in the directory
        struct stat status {};
        if (::fstatat(directory, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) return StorageEntry::Kind::other;
        type = S_ISREG(status.st_mode) ? DT_REG : S_ISLNK(status.st_mode) ? DT_LNK : DT_DIR;
    }
    if (type == DT_REG) return StorageEntry::Kind::file;
    return type == DT_LNK ? StorageEntry::Kind::symbolic_link : StorageEntry::Kind::other;
}

} // namespace

DirectoryStorage::DirectoryStorage(std::string path)
    : path_{std::move(path)}, directory_{::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)} {
    if (directory_) return;
    if (errno == ENOENT || errno == ENOTDIR) throw NotFound{path_, "no such directory"};
    throw SystemError::from_errno("open directory", path_);
}

std::vector<StorageEntry> DirectoryStorage::list() const {
    // A descriptor of its own: readdir moves the position, and several threads may list.
    UniqueFd fd{::openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fd) throw SystemError::from_errno("open directory", path_);
    DIR* const stream = ::fdopendir(fd.get());
    if (stream == nullptr) throw SystemError::from_errno("list directory", path_);
    fd.release();
    const std::unique_ptr<DIR, int (*)(DIR*)> closer{stream, ::closedir};

    std::vector<StorageEntry> entries;
    for (;;) {
        errno = 0;
        const dirent* const entry = ::readdir(stream);
        if (entry == nullptr) break;
        const std::string name = entry->d_name;
        if (name != "." && name != "..") entries.push_back({name, kind_of(directory_.get(), *entry)});
    }
    if (errno != 0) throw SystemError::from_errno("list directory", path_);
    std::ranges::sort(entries, {}, &StorageEntry::name);
    return entries;
}

bool DirectoryStorage::exists(const std::string& name) const {
    struct stat status {};
    if (::fstatat(directory_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) return true;
    if (errno == ENOENT) return false;
    throw SystemError::from_errno("look up", name);
}

std::optional<FileState> DirectoryStorage::state(const std::string& name) const {
    struct stat status {};
    if (::fstatat(directory_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode))
        return std::nullopt;
    constexpr std::uint64_t block_unit = 512; // of st_blocks, whatever the file system
    const auto nanoseconds = [](const timespec& time) {
        return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
    };
    return FileState{
        {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size), nanoseconds(status.st_mtim)},
        nanoseconds(status.st_ctim),
        Bytes{static_cast<std::uint64_t>(status.st_blocks) * block_unit}};
}

std::unique_ptr<BlockDevice> DirectoryStorage::open(const std::string& name, Access access) {
    // O_NONBLOCK: a FIFO with an image's name must not make us wait for its writer.
    const int mode = access == Access::read_write ? O_RDWR : O_RDONLY;
    UniqueFd fd{::openat(directory_.get(), name.c_str(), mode | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    if (!fd) {
        if (errno == ENOENT) throw NotFound{name, path_};
        if (errno == ELOOP) throw Refused{"image-damaged", name, "is a symbolic link, which is never followed"};
        throw SystemError::from_errno("open", name);
    }
    return std::make_unique<FileDevice>(std::move(fd), name);
}

std::unique_ptr<BlockDevice> DirectoryStorage::create(const std::string& name) {
    about_to_change();
    UniqueFd fd{::openat(directory_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!fd) throw SystemError::from_errno("create", name);
    return std::make_unique<FileDevice>(std::move(fd), name);
}

void DirectoryStorage::create_filled(const std::string& name, std::string_view content) {
    // A file without a name, which vanishes with us; network file systems do not have such.
    UniqueFd fd{::openat(directory_.get(), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600)};
    if (!fd) return Storage::create_filled(name, content);
    const std::string link = "/proc/self/fd/" + std::to_string(fd.get());
    FileDevice file{std::move(fd), name};
    file.write_at(0_B, std::as_bytes(std::span{content}));
    file.flush();
    about_to_change();
    if (::linkat(AT_FDCWD, link.c_str(), directory_.get(), name.c_str(), AT_SYMLINK_FOLLOW) == 0) return;
    if (errno == EEXIST) throw SystemError::from_errno("create", name);
    Storage::create_filled(name, content);
}

void DirectoryStorage::rename(const std::string& from, const std::string& to) {
    about_to_change();
    if (::syscall(SYS_renameat2, directory_.get(), from.c_str(), directory_.get(), to.c_str(), RENAME_NOREPLACE) == 0)
        return;
    // NFS and old file systems do not know the flag. We hold the SR, so the test below is not raced by our own kind.
    if (errno != EINVAL && errno != ENOSYS) throw SystemError::from_errno("rename to " + to, from);
    if (exists(to)) throw SystemError{"rename to " + to, from, std::make_error_code(std::errc::file_exists)};
    if (::renameat(directory_.get(), from.c_str(), directory_.get(), to.c_str()) != 0)
        throw SystemError::from_errno("rename to " + to, from);
}

void DirectoryStorage::remove(const std::string& name) {
    about_to_change();
    if (::unlinkat(directory_.get(), name.c_str(), 0) != 0) throw SystemError::from_errno("remove", name);
}

void DirectoryStorage::sync() {
    about_to_change();
    if (::fsync(directory_.get()) != 0) throw SystemError::from_errno("flush directory", path_);
}

StorageSpace DirectoryStorage::space() const {
    struct statvfs status {};
    if (::fstatvfs(directory_.get(), &status) != 0) throw SystemError::from_errno("read free space", path_);
    return {Bytes{status.f_frsize} * status.f_blocks, Bytes{status.f_frsize} * status.f_bavail};
}

} // namespace coppice
