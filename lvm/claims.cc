#include "lvm/claims.h"

#include "format/base/error.h"
#include "format/base/log.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/file.h>
#include <sys/stat.h>

namespace coppice::lvm {
namespace {

// Not complete yet; nobody else looks at it.
constexpr const char* draft = ".draft-";

std::string unique_name(const std::string& uuid) {
    static std::atomic<unsigned> number{0};
    std::string name = uuid + "." + std::to_string(::getpid()) + "." + std::to_string(++number);
    std::ranges::replace(name, '/', '_');
    return name;
}

std::optional<StaleClaim> parse(const std::string& path) {
    std::ifstream file{path};
    StaleClaim claim;
    if (std::getline(file, claim.lv) && std::getline(file, claim.uuid) && file >> claim.life.device >> claim.life.inode)
        return claim;
    return std::nullopt;
}

} // namespace

void Claim::remove() {
    if (!lock_) return;
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT) throw SystemError::from_errno("remove", path_);
    lock_.reset();
}

Claim Claims::make(const std::string& lv, const std::string& uuid, CountLife life) const {
    Claim claim;
    if (directory_.empty()) return claim;
    std::error_code error; // shows when the file is created
    std::filesystem::create_directories(directory_, error);
    const std::string name = unique_name(uuid);
    const std::string written = directory_ + "/" + draft + name;
    claim.path_ = directory_ + "/" + name;
    claim.lock_ = UniqueFd{::open(written.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (!claim.lock_) throw SystemError::from_errno("create", written);
    const std::string text =
        lv + "\n" + uuid + "\n" + std::to_string(life.device) + " " + std::to_string(life.inode) + "\n";
    if (::flock(claim.lock_.get(), LOCK_EX | LOCK_NB) != 0) throw SystemError::from_errno("lock", written);
    if (::write(claim.lock_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        throw SystemError::from_errno("write", written);
    if (::rename(written.c_str(), claim.path_.c_str()) != 0) throw SystemError::from_errno("rename", written);
    return claim;
}

std::vector<StaleClaim> Claims::stale() const {
    std::vector<StaleClaim> found;
    std::error_code error;
    if (directory_.empty() || !std::filesystem::is_directory(directory_, error)) return found;
    for (const auto& entry : std::filesystem::directory_iterator{directory_, error}) {
        if (entry.path().filename().string().starts_with(draft)) continue;
        Claim claim;
        claim.path_ = entry.path().string();
        claim.lock_ = UniqueFd{::open(claim.path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
        if (!claim.lock_ || ::flock(claim.lock_.get(), LOCK_EX | LOCK_NB) != 0) continue;
        struct stat status {};
        if (::fstat(claim.lock_.get(), &status) != 0 || status.st_nlink == 0)
            continue; // removed by its owner meanwhile
        if (auto stale = parse(claim.path_)) {
            stale->claim = std::move(claim);
            found.push_back(std::move(*stale));
        } else {
            log::warning("lvm", "removes a claim that cannot be understood file=" + claim.path_);
            claim.remove();
        }
    }
    if (error) throw SystemError{"list", directory_, error};
    std::ranges::sort(found, {}, &StaleClaim::uuid);
    return found;
}

} // namespace coppice::lvm
