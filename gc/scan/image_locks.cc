#include "gc/scan/image_locks.h"

#include "format/base/error.h"
#include "format/base/log.h"
#include "gc/scan/occupancy.h"

#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <string>
#include <vector>

namespace coppice {
namespace {

constexpr off_t uses = 100;     // + permission
constexpr off_t unshared = 200; // + permission
constexpr off_t permissions = 5;
constexpr off_t consistent_read = 0;
constexpr off_t write_permission = 1;
constexpr off_t resize = 3;
constexpr off_t to_end = 0;

struct flock range_lock(short type, off_t start, off_t length) {
    struct flock lock {}; // l_pid has to be zero for open-file-description locks
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = length;
    return lock;
}

bool locks_unknown(int error) {
    // ENOLCK: an NFS server without lock service.
    return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == ENOLCK;
}

/// A lock of somebody else that excludes ours: its holder where it is a classic lock, 0 for an open-file-description
/// lock.
std::optional<int> conflicting(int fd, short type, off_t start, off_t length, const std::string& name) {
    struct flock lock = range_lock(type, start, length);
    if (::fcntl(fd, F_OFD_GETLK, &lock) != 0) {
        if (locks_unknown(errno)) return std::nullopt;
        throw SystemError::from_errno("look for locks", name);
    }
    if (lock.l_type == F_UNLCK) return std::nullopt;
    return lock.l_pid > 0 ? lock.l_pid : 0;
}

/// Whoever stands against `purpose`.
std::optional<int> opponent(int fd, Occupancy::Purpose purpose, const std::string& name) {
    // A writer wants nobody at all, whatever kind of lock they hold.
    if (purpose != Occupancy::Purpose::read) return conflicting(fd, F_WRLCK, 0, to_end, name);
    // A reader stands writers apart, and those who do not share reading.
    for (const off_t byte : {uses + write_permission, uses + resize, unshared + consistent_read})
        if (const auto holder = conflicting(fd, F_WRLCK, byte, 1, name)) return holder;
    return conflicting(fd, F_RDLCK, 0, to_end, name);
}

/// The holders of a lock: one process where the kernel says which, else everybody who has the image open.
std::vector<Opener> holders(int pid, const BlockDevice& device, Occupancy& host) {
    if (pid != 0) return {{pid, process_name(pid)}};
    const FileIdentity identity = device.identity();
    return host.openers({&identity, 1}).front();
}

std::string describe(std::optional<int> pid, const BlockDevice& device, Occupancy& host) {
    std::string text;
    for (const Opener& opener : holders(pid.value_or(0), device, host))
        text += (text.empty() ? "" : ", ") + opener.name + " (pid " + std::to_string(opener.pid) + ")";
    return text.empty() ? "a program that cannot be seen from here" : text;
}

/// Byte 101 or 103 would make every program fail that does not force its way, even one that only asks what the image
/// is (`qemu-img info`, of each image of a chain).
std::vector<off_t> bytes_of(Occupancy::Purpose purpose) {
    std::vector<off_t> bytes{uses + consistent_read, unshared + write_permission, unshared + resize};
    switch (purpose) {
    case Occupancy::Purpose::write:
        bytes.insert(bytes.end(), {uses + write_permission, uses + resize, unshared + consistent_read});
        break;
    case Occupancy::Purpose::pour_alone:
        bytes.push_back(unshared + consistent_read);
        break;
    case Occupancy::Purpose::pour_below:
    case Occupancy::Purpose::read:
        break;
    }
    return bytes;
}

class ImageClaim final : public Claim {
public:
    explicit ImageClaim(int fd) : fd_{fd} {}
    ~ImageClaim() override {
        for (const off_t first : {uses, unshared}) {
            struct flock lock = range_lock(F_UNLCK, first, permissions);
            ::fcntl(fd_, F_OFD_SETLK, &lock); // closing the device releases them all the same
        }
    }
    ImageClaim(const ImageClaim&) = delete;
    ImageClaim& operator=(const ImageClaim&) = delete;

    enum class Taken { yes, no, unknown_here };
    Taken take(Occupancy::Purpose purpose, const std::string& name) {
        for (const off_t byte : bytes_of(purpose)) {
            struct flock lock = range_lock(F_RDLCK, byte, 1);
            if (::fcntl(fd_, F_OFD_SETLK, &lock) == 0) continue;
            if (errno == EAGAIN || errno == EACCES) return Taken::no;
            if (locks_unknown(errno)) return Taken::unknown_here;
            throw SystemError::from_errno("lock", name);
        }
        return Taken::yes;
    }

private:
    int fd_;
};

class NoClaim final : public Claim {};

struct Attempt {
    std::unique_ptr<Claim> claim; ///< null: somebody holds a lock
    std::optional<int> holder;
};

Attempt attempt(int fd, Occupancy::Purpose purpose, const std::string& name) {
    if (const auto holder = opponent(fd, purpose, name)) return {nullptr, holder};
    auto claim = std::make_unique<ImageClaim>(fd);
    const auto taken = claim->take(purpose, name);
    if (taken == ImageClaim::Taken::unknown_here) {
        log::warning("gc", "the file system has no locks to keep others out of " + name);
        return {std::make_unique<NoClaim>(), std::nullopt};
    }
    const auto holder = opponent(fd, purpose, name);
    if (taken == ImageClaim::Taken::no || holder) return {nullptr, holder};
    return {std::move(claim), std::nullopt};
}

} // namespace

std::unique_ptr<Claim> lock_image(const BlockDevice& device, Occupancy::Purpose purpose, Occupancy& host,
                                  const Sleeper& pause) {
    const int fd = device.descriptor();
    if (fd < 0) return std::make_unique<NoClaim>();
    Attempt last = attempt(fd, purpose, device.name());
    for (const auto length : claim_pauses) {
        if (last.claim) break;
        pause(length);
        last = attempt(fd, purpose, device.name());
    }
    if (!last.claim) throw Busy{device.name(), describe(last.holder, device, host)};
    return std::move(last.claim);
}

std::optional<Opener> image_lock_holder(const BlockDevice& device, Occupancy& host) {
    if (device.descriptor() < 0) return std::nullopt;
    const auto pid = opponent(device.descriptor(), Occupancy::Purpose::write, device.name());
    if (!pid) return std::nullopt;
    const auto found = holders(*pid, device, host);
    return found.empty() ? Opener{0, "a program that cannot be seen from here"} : found.front();
}

} // namespace coppice
