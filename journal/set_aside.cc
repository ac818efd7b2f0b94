#include "journal/directory.h"
#include "journal/journal.h"

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>

namespace coppice::journal {
namespace {

namespace fs = std::filesystem;

constexpr int lock_timeout_ms = 10'000;

std::string to_text(UnusableJournal::Cause cause) {
    switch (cause) {
    case UnusableJournal::Cause::newer:
        return "newer";
    case UnusableJournal::Cause::damaged:
        return "damaged";
    case UnusableJournal::Cause::foreign:
        return "foreign";
    }
    return "";
}

std::string time_text() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    char text[sizeof "20260101T000000Z"];
    std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
    return text;
}

/// Neither the file nor its log may replace something.
bool is_free(const std::string& name) {
    for (const char* const suffix : {"", "-wal", "-shm"})
        if (fs::exists(fs::symlink_status(name + suffix))) return false;
    return true;
}

void move_if_present(const std::string& from, const std::string& to) {
    if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT)
        throw SystemError::from_errno("rename to " + to, from);
}

} // namespace

std::string set_aside(const std::string& path, UnusableJournal::Cause cause) {
    const fs::path directory = fs::path{path}.parent_path();
    const OpeningLock lock{directory, lock_timeout_ms};
    if (!fs::exists(fs::symlink_status(path))) throw NotFound{"journal", path};
    const std::string dated = path + "." + to_text(cause) + "-" + time_text();
    std::string aside = dated;
    for (int number = 2; !is_free(aside); ++number)
        aside = dated + "-" + std::to_string(number);
    // The database first: without it a log left behind is dropped when the next journal is made, while a database that
    // lost its log would be taken for a sound one that has forgotten what it knew last.
    move_if_present(path, aside);
    flush_directory(directory);
    move_if_present(path + "-wal", aside + "-wal");
    move_if_present(path + "-shm", aside + "-shm");
    flush_directory(directory);
    return aside;
}

} // namespace coppice::journal
