// What is read while others wait: in a passage only headers that have changed, also of an SR of 2,000 images.
#include "gc/scan/header_cache.h"
#include "gc/sm/sm_gate.h"
#include "tests/gc/counting_storage.h"
#include "tests/gc/cycle_world.h"
#include "tests/support/sr_builder.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>

namespace coppice::test {
namespace {

const std::string sr_uuid = "0f0e0d0c-0b0a-0908-0706-050403020100";
constexpr int images = 2000;
constexpr int trees = 4;   // of each kind
constexpr int changes = 3; // disks that are changed before each passage

std::string plain_disk(int number) {
    char uuid[64];
    std::snprintf(uuid, sizeof uuid, "c0ffee00-0000-4000-8000-%012d", number);
    return std::string{uuid} + ".qcow2";
}

void put(const std::filesystem::path& path, const std::vector<std::byte>& bytes) {
    std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()),
                                                static_cast<std::streamsize>(bytes.size()));
}

/// Some trees with something to merge, and many disks with nothing.
void fill(const TemporaryDirectory& directory) {
    MemoryStorage made;
    for (int tree = 0; tree < trees; ++tree) {
        const std::string name = std::to_string(tree);
        const auto add = [&](const std::string& image, std::optional<std::string> parent, bool hidden) {
            build(made, small_image(Format::qcow2, image + name, std::move(parent), hidden, {fill_at(0_B, 4_KiB, 1)}));
        };
        add("root", {}, true);
        add("mid", "root" + name, true);
        add("left", "mid" + name, false);
        add("right", "mid" + name, false);
        add("base", {}, true);
        add("leaf", "base" + name, false);
    }
    const auto names = made.names();
    for (const std::string& name : names)
        put(directory / name, made.bytes(name));
    MemoryStorage single;
    build(single, small_image(Format::qcow2, "image", {}, false, {}, 64_KiB));
    const auto bytes = single.bytes(single.names().front());
    for (int number = 0; number < images - static_cast<int>(names.size()); ++number)
        put(directory / plain_disk(number), bytes);
}

/// sm's gate and a service's way to look at the SR; takes down which headers are read in a passage.
class Watched final : public TreeSource, public SrGate {
public:
    Watched(CountingStorage& storage, SmGate& gate) : storage_{storage}, gate_{gate} { options_.headers = &headers_; }

    SrTree current() override {
        const auto before = states();
        const std::size_t opened = storage_.opened().size();
        SrTree tree = scan_sr(storage_, options_);
        const auto all = storage_.opened();
        if (inside_) {
            ++looks;
            const std::set<std::string> read{all.begin() + static_cast<std::ptrdiff_t>(opened), all.end()};
            EXPECT_EQ(read, changed_since(before));
            reads += read.size();
        }
        seen_ = before;
        return tree;
    }

    std::unique_ptr<Passage> enter(const std::set<std::string>& leaves, const std::stop_token& stop) override {
        change_some();
        auto passage = gate_.enter(leaves, stop);
        return std::make_unique<Inside>(*this, std::move(passage));
    }
    std::unique_ptr<LeafGuard> guard(const std::string& leaf) override { return gate_.guard(leaf); }
    std::unique_ptr<Announcement> announce(const std::string& vdi) override { return gate_.announce(vdi); }
    bool readers_ask_first() const override { return gate_.readers_ask_first(); }

    std::size_t looks = 0; ///< in passages
    std::size_t reads = 0; ///< of headers, in these

private:
    class Inside final : public Passage {
    public:
        Inside(Watched& watched, std::unique_ptr<Passage> passage) : watched_{watched}, passage_{std::move(passage)} {
            watched_.inside_ = true;
        }
        ~Inside() override { watched_.inside_ = false; }

    private:
        Watched& watched_;
        std::unique_ptr<Passage> passage_;
    };

    /// Somebody changes disks between our look and the passage.
    void change_some() {
        for (int count = 0; count < changes; ++count, ++changed_)
            std::filesystem::last_write_time(std::filesystem::path{storage_.name()} / plain_disk(changed_),
                                             std::filesystem::file_time_type::clock::now());
    }
    std::set<std::string> changed_since(const std::map<std::string, FileState>& now) const {
        std::set<std::string> changed;
        for (const auto& [name, state] : now)
            if (const auto seen = seen_.find(name); seen == seen_.end() || !seen->second.same_content(state))
                changed.insert(name);
        return changed;
    }
    std::map<std::string, FileState> states() const {
        std::map<std::string, FileState> result;
        for (const StorageEntry& entry : storage_.list())
            if (const auto state = storage_.state(entry.name)) result.emplace(entry.name, *state);
        return result;
    }

    CountingStorage& storage_;
    SmGate& gate_;
    /// At a time when everything was changed long ago, so that every state tells of every change.
    HeaderCache headers_{HeaderCache::Stamps::here, [] {
                             HeaderCache::Moment later = HeaderCache::real_time();
                             later.wall += std::chrono::seconds{10};
                             return later;
                         }};
    ScanOptions options_;
    std::map<std::string, FileState> seen_; ///< by the last look
    int changed_ = 0;
    bool inside_ = false;
};

TEST(PassageReads, OnlyHeadersThatHaveChanged) {
    const TemporaryDirectory directory;
    const TemporaryDirectory root;
    fill(directory);
    std::filesystem::create_directories(root / "locks");
    CountingStorage storage{directory.path().string()};
    const SmLocks locks{root / "locks"};
    SmGate gate{locks, root / "run", sr_uuid};
    const auto journal = journal::Journal::open(root / "journal.db", journal::Journal::Create::yes);
    Watched world{storage, gate};
    NobodyElse nobody;
    NoProgress progress;
    const Outcome outcome =
        Cycle{storage, journal.get(), nobody, world, world}.run(Policy{}, {}, std::nullopt, progress, {});
    EXPECT_TRUE(outcome.failed.empty());
    EXPECT_EQ(outcome.done.size(), 2U * trees);
    EXPECT_GE(world.looks, 2U * outcome.done.size()) << "before and behind the data of each";
    EXPECT_GE(world.reads, changes * world.looks);
    const HoldTimes times = gate.times();
    EXPECT_GE(times.count, world.looks);
    EXPECT_GT(times.longest.count(), 0);
    EXPECT_LE(times.longest, times.total);
    std::cout << "passages " << times.count << ", looks in them " << world.looks << ", headers read in them "
              << world.reads << ", longest "
              << std::chrono::duration_cast<std::chrono::milliseconds>(times.longest).count() << " ms\n";
}

} // namespace
} // namespace coppice::test
