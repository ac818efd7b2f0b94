// A whole SR with its host in memory: storage that can lose power, a journal that survives it, nobody else about.
#pragma once

#include "gc/cycle/cycle.h"
#include "gc/scan/scan.h"
#include "tests/support/memory_storage.h"
#include "tests/support/temporary_directory.h"

#include <memory>
#include <string>

namespace coppice::test {

class NobodyElse final : public Occupancy {
public:
    std::unique_ptr<Claim> claim(BlockDevice&, Purpose) override { return std::make_unique<Claim>(); }
    std::optional<Opener> lock_holder(const BlockDevice&) override { return std::nullopt; }
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override {
        return std::vector<std::vector<Opener>>(images.size());
    }
};

class ScannedTrees final : public TreeSource {
public:
    explicit ScannedTrees(Storage& storage) : storage_{storage} {}
    SrTree current() override { return scan_sr(storage_, ScanOptions{}); }

private:
    Storage& storage_;
};

/// One run of the program over `storage`. The journal stands in `directory` from run to run.
inline Outcome run_cycle(MemoryStorage& storage, const TemporaryDirectory& directory, const Policy& policy = {},
                         const MergeOptions& options = {}) {
    const auto journal = journal::Journal::open(directory / "journal.db", journal::Journal::Create::yes);
    NobodyElse occupancy;
    ScannedTrees trees{storage};
    NoProgress progress;
    return Cycle{storage, journal.get(), occupancy, trees}.run(policy, options, std::nullopt, progress, {});
}

} // namespace coppice::test
