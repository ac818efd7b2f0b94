// A directory that takes down which files are opened.
#pragma once

#include "format/base/directory_storage.h"

#include <mutex>
#include <string>
#include <vector>

namespace coppice::test {

class CountingStorage final : public Storage {
public:
    explicit CountingStorage(const std::string& path) : storage_{path} {}
    const std::string& name() const override { return storage_.name(); }
    std::vector<StorageEntry> list() const override { return storage_.list(); }
    bool exists(const std::string& name) const override { return storage_.exists(name); }
    std::optional<FileState> state(const std::string& name) const override { return storage_.state(name); }
    std::unique_ptr<BlockDevice> open(const std::string& name, Access access) override {
        {
            const std::lock_guard lock{mutex_};
            opened_.push_back(name);
        }
        return storage_.open(name, access);
    }
    std::unique_ptr<BlockDevice> create(const std::string& name) override { return storage_.create(name); }
    void rename(const std::string& from, const std::string& to) override { storage_.rename(from, to); }
    void remove(const std::string& name) override { storage_.remove(name); }
    void sync() override { storage_.sync(); }
    StorageSpace space() const override { return storage_.space(); }

    /// In the order in which they were opened.
    std::vector<std::string> opened() const {
        const std::lock_guard lock{mutex_};
        return opened_;
    }

private:
    DirectoryStorage storage_;
    mutable std::mutex mutex_; ///< scans open from several threads
    std::vector<std::string> opened_;
};

} // namespace coppice::test
