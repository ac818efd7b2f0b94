#include "gc/cycle/sr_backend.h"

#include "format/base/directory_storage.h"
#include "format/base/error.h"
#include "gc/scan/header_cache.h"
#include "gc/scan/network_fs.h"
#include "gc/scan/occupancy.h"
#include "gc/scan/scan.h"
#include "gc/volumes/volume_occupancy.h"
#include "gc/volumes/volume_trees.h"
#include "lvm/error.h"

#include <optional>

namespace coppice {
namespace {

ScanOptions scan_options(journal::Journal* journal, unsigned threads) {
    ScanOptions options;
    options.threads = threads;
    if (journal != nullptr) options.last_known = [journal](const std::string& vdi) { return journal->last_known(vdi); };
    return options;
}

/// Headers and sizes are remembered by file and state.
class DirectoryTrees final : public TreeSource {
public:
    DirectoryTrees(Storage& storage, const std::string& directory, ScanOptions options)
        : storage_{storage}, headers_{other_hosts_may_use(directory) ? HeaderCache::Stamps::elsewhere
                                                                     : HeaderCache::Stamps::here},
          options_{std::move(options)} {
        options_.inside_sr = inside_directory(directory);
        options_.sizes = &sizes_;
        options_.headers = &headers_;
    }

    SrTree current() override { return scan_sr(storage_, options_); }

private:
    Storage& storage_;
    SizeCache sizes_;
    HeaderCache headers_;
    ScanOptions options_;
};

class DirectoryBackend final : public SrBackend {
public:
    explicit DirectoryBackend(std::string directory) : directory_{std::move(directory)}, storage_{directory_} {}

    Storage& storage() override { return storage_; }
    Occupancy& occupancy() override { return occupancy_; }
    TreeSource& trees(journal::Journal* journal, unsigned threads) override {
        trees_.emplace(storage_, directory_, scan_options(journal, threads));
        return *trees_;
    }
    bool other_hosts_may_use() const override { return coppice::other_hosts_may_use(directory_); }

private:
    std::string directory_;
    DirectoryStorage storage_;
    HostOccupancy occupancy_;
    std::optional<DirectoryTrees> trees_;
};

class VolumeBackend final : public SrBackend {
public:
    VolumeBackend(const SrLocation& sr, const std::string& run_dir, bool discard)
        : host_{sr.group, sr.uuid, run_dir, discard} {}

    Storage& storage() override { return storage_; }
    Occupancy& occupancy() override { return occupancy_; }
    TreeSource& trees(journal::Journal* journal, unsigned threads) override {
        trees_.emplace(storage_, scan_options(journal, threads));
        return *trees_;
    }
    bool other_hosts_may_use() const override { return coppice::other_hosts_may_use(storage_.report()); }
    std::vector<std::string> recover() override { return storage_.recover(); }

private:
    VolumeHost host_;
    VolumeStorage storage_{host_};
    VolumeOccupancy occupancy_{storage_};
    std::optional<VolumeTrees> trees_;
};

} // namespace

std::unique_ptr<SrBackend> open_backend(const SrLocation& sr, const std::string& run_dir, bool discard) {
    if (sr.group.empty()) return std::make_unique<DirectoryBackend>(sr.directory);
    try {
        return std::make_unique<VolumeBackend>(sr, run_dir, discard);
    } catch (const lvm::CommandFailed& error) { // LVM does not tell why
        throw NotFound{sr.name, "no such SR is mounted, and no volume group can be read: " + std::string{error.what()}};
    } catch (const SystemError& error) {
        if (error.cause() != std::errc::no_such_file_or_directory) throw;
        throw NotFound{sr.name, "no such SR is mounted, and this host has no LVM: " + std::string{error.what()}};
    }
}

} // namespace coppice
