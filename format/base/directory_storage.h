// The directory of a file SR. Everything is opened relative to one directory descriptor, so that a directory moved or
// replaced under us is noticed as missing files and never as other files.
#pragma once

#include "format/base/storage.h"
#include "format/base/unique_fd.h"

namespace coppice {

class DirectoryStorage final : public Storage {
public:
    /// Throws NotFound or SystemError.
    explicit DirectoryStorage(std::string path);

    const std::string& name() const override { return path_; }
    std::vector<StorageEntry> list() const override;
    bool exists(const std::string& name) const override;
    std::optional<FileState> state(const std::string& name) const override;
    std::unique_ptr<BlockDevice> open(const std::string& name, Access access) override;
    std::unique_ptr<BlockDevice> create(const std::string& name) override;
    void create_filled(const std::string& name, std::string_view content) override;
    void rename(const std::string& from, const std::string& to) override;
    void remove(const std::string& name) override;
    void sync() override;
    StorageSpace space() const override;

    int descriptor() const { return directory_.get(); }

private:
    std::string path_;
    UniqueFd directory_;
};

} // namespace coppice
