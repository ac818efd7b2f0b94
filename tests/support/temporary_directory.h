// A directory for one test, removed with everything in it.
#pragma once

#include <filesystem>
#include <string>

namespace coppice::test {

class TemporaryDirectory {
public:
    /// Throws std::runtime_error where none can be made.
    TemporaryDirectory();
    TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_{std::move(other.path_)} { other.path_.clear(); }
    TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
    ~TemporaryDirectory();

    const std::filesystem::path& path() const { return path_; }
    /// The path of a file in it.
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

} // namespace coppice::test
