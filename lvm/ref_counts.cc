#include "lvm/ref_counts.h"

#include "format/base/error.h"
#include "format/base/unique_fd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>

namespace coppice::lvm {
namespace {

// Two numbers need less.
constexpr std::size_t longest = 128;

/// As sm does: a name never leads out of its directory.
std::string safe(std::string name) {
    std::ranges::replace(name, '/', '_');
    return name;
}

std::optional<RefCount> parse(std::string_view text) {
    text = text.substr(0, text.find('\n'));
    RefCount count;
    const auto [behind, error] = std::from_chars(text.data(), text.data() + text.size(), count.normal);
    if (error != std::errc{}) return std::nullopt;
    const std::string_view binary{behind, text.data() + text.size()};
    if (binary != " 0" && binary != " 1") return std::nullopt;
    count.binary = binary == " 1";
    return count;
}

void write_whole(int fd, const std::string& text, const std::string& path) {
    const ssize_t count = ::pwrite(fd, text.data(), text.size(), 0);
    if (count < 0) throw SystemError::from_errno("write", path);
    if (static_cast<std::size_t>(count) != text.size())
        throw SystemError{"write", path, std::make_error_code(std::errc::no_space_on_device)};
    if (::ftruncate(fd, count) != 0) throw SystemError::from_errno("cut", path);
}

} // namespace

RefCounts::RefCounts(const std::string& root, const std::string& space)
    : root_{root}, directory_{root + "/" + safe(space)} {}

std::string RefCounts::path(const std::string& uuid) const {
    return directory_ + "/" + safe(uuid);
}

RefCount RefCounts::get(const std::string& uuid) const {
    const std::string file = path(uuid);
    const UniqueFd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    if (!fd && errno == ENOENT) return {};
    if (!fd) throw SystemError::from_errno("open", file);
    std::array<char, longest> buffer{};
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0) throw SystemError::from_errno("read", file);
    const auto parsed = parse({buffer.data(), static_cast<std::size_t>(count)});
    if (!parsed) throw Error{"read reference count: " + file + ": not two numbers, the second 0 or 1"};
    return *parsed;
}

void RefCounts::set(const std::string& uuid, RefCount count) const {
    const std::string file = path(uuid);
    if (count == RefCount{}) {
        if (::unlink(file.c_str()) != 0 && errno != ENOENT) throw SystemError::from_errno("remove", file);
        ::rmdir(directory_.c_str()); // only where it was the last one
        return;
    }
    std::error_code ignored; // what is missing shows when the file is opened
    std::filesystem::create_directories(directory_, ignored);
    const UniqueFd fd{::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)};
    if (!fd) throw SystemError::from_errno("open", file);
    write_whole(fd.get(), std::to_string(count.normal) + (count.binary ? " 1\n" : " 0\n"), file);
}

std::optional<CountLife> RefCounts::life(const std::string& uuid) const {
    struct stat status {};
    if (::stat(path(uuid).c_str(), &status) == 0)
        return CountLife{static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino)};
    if (errno == ENOENT) return std::nullopt;
    throw SystemError::from_errno("read status", path(uuid));
}

} // namespace coppice::lvm
