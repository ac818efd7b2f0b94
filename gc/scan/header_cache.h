// What the headers of images say, by file and state, so that a scan reads only what has changed.
//
// A state (file, size, times of change) tells of every change only where it is older than the clock of the file system
// is coarse: what changes twice within one tick shows the same times. So an entry counts only if it was read two
// seconds after the last change, or after the state was first seen. The second needs no common clock with whoever
// stamps the files. Thread-safe.
#pragma once

#include "format/base/storage.h"
#include "gc/scan/scan_read.h"

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace coppice {

class HeaderCache {
public:
    /// Who stamps the files: this host, whose clock can be compared with, or a server.
    enum class Stamps { here, elsewhere };
    /// Taken before anything of a file is read.
    struct Moment {
        std::chrono::system_clock::time_point wall;
        std::chrono::steady_clock::time_point steady;
    };
    static Moment real_time() { return {std::chrono::system_clock::now(), std::chrono::steady_clock::now()}; }

    /// `now` is the time; for tests.
    explicit HeaderCache(Stamps stamps, std::function<Moment()> now = real_time)
        : stamps_{stamps}, now_{std::move(now)} {}

    Moment now() const { return now_(); }
    /// What was read of `file` in this `state`, if it can be trusted.
    std::optional<ScannedImage> find(const std::string& file, const FileState& state) const;
    /// `image` was read of `file` after `moment`, before which it was in this `state`. Only sound images are kept.
    void remember(const std::string& file, const FileState& state, const ScannedImage& image, const Moment& moment);
    /// Forgets files that `tree` does not name.
    void keep_only(const SrTree& tree);

private:
    struct Entry {
        FileState state;
        std::chrono::steady_clock::time_point first_seen;
        bool trusted = false;
        ScannedImage image;
    };

    Stamps stamps_;
    std::function<Moment()> now_;
    mutable std::mutex mutex_;
    std::map<std::string, Entry> entries_;
};

} // namespace coppice
