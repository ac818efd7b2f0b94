// Our cycle and sm on one small SR, with sm acting at every point where the other could come in between: around every
// passage, every look at users and trees, and between batches. Thousands of orders, each repeatable by its seed.

#include "format/base/error.h"
#include "gc/sm/sm_gate.h"
#include "tests/gc/sm_model.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace coppice::test {
namespace {

const std::string sr_uuid = "0f0e0d0c-0b0a-0908-0706-050403020100";

/// Fails when a lock is taken before one that has to come first. A guarded leaf may be held while `sr` is tried.
class LockOrder {
public:
    SmLocks::Observer observer() {
        return [this](SmLocks::Event event, const std::string& space, const std::string& name) {
            if (event == SmLocks::Event::released) {
                held_.erase({space, name});
                return;
            }
            const auto leaves = std::ranges::count_if(held_, [](const auto& lock) { return lock.second == "vdi"; });
            EXPECT_TRUE(name != "sr" || leaves <= 1) << "sr after vdi";
            EXPECT_TRUE(held_.emplace(space, name).second) << "taken twice";
        };
    }
    bool nothing_held() const { return held_.empty(); }
    bool holds_sr() const { return held_.contains({sr_uuid, "sr"}); }

private:
    std::set<std::pair<std::string, std::string>> held_;
};

/// How many claims on images are held.
struct Claims {
    int all = 0;
    int writing = 0; ///< those that let nobody in
};

class CountedClaim final : public Claim {
public:
    CountedClaim(Claims& held, bool writing) : held_{held}, writing_{writing} { count(1); }
    ~CountedClaim() override { count(-1); }
    CountedClaim(const CountedClaim&) = delete;
    CountedClaim& operator=(const CountedClaim&) = delete;

private:
    void count(int one) {
        held_.all += one;
        if (writing_) held_.writing += one;
    }

    Claims& held_;
    bool writing_;
};

/// Whoever waits for the disks of a passage opens them as soon as it ends: our claims have to go before it.
class WatchedPassage final : public Passage {
public:
    WatchedPassage(std::unique_ptr<Passage> passage, const Claims& claims)
        : passage_{std::move(passage)}, claims_{claims} {}
    ~WatchedPassage() override { EXPECT_EQ(claims_.writing, 0) << "an image is still claimed behind a passage"; }
    WatchedPassage(const WatchedPassage&) = delete;
    WatchedPassage& operator=(const WatchedPassage&) = delete;

private:
    std::unique_ptr<Passage> passage_;
    const Claims& claims_;
};

/// The same of whoever waits for the end of a merge.
class WatchedAnnouncement final : public SrGate::Announcement {
public:
    WatchedAnnouncement(std::unique_ptr<Announcement> announcement, const Claims& claims)
        : announcement_{std::move(announcement)}, claims_{claims} {}
    ~WatchedAnnouncement() override { EXPECT_EQ(claims_.all, 0) << "an image is still claimed behind a merge"; }
    WatchedAnnouncement(const WatchedAnnouncement&) = delete;
    WatchedAnnouncement& operator=(const WatchedAnnouncement&) = delete;

    bool stop_wanted() const override { return announcement_->stop_wanted(); }

private:
    std::unique_ptr<Announcement> announcement_;
    const Claims& claims_;
};

class Interleaved final : public Occupancy, public TreeSource, public Progress, public SrGate {
public:
    Interleaved(MemoryStorage& storage, SmModel& sm, SmGate& gate, const LockOrder& order)
        : trees_{storage}, sm_{sm}, gate_{gate}, order_{order} {}

    std::unique_ptr<Claim> claim(BlockDevice&, Purpose purpose) override {
        return std::make_unique<CountedClaim>(claims_, purpose == Purpose::write);
    }
    std::optional<Opener> lock_holder(const BlockDevice&) override { return std::nullopt; }
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override {
        between("users");
        std::vector<std::vector<Opener>> result(images.size());
        for (std::size_t i = 0; i < images.size(); ++i)
            if (sm_.is_open(images[i].inode)) result[i].push_back({4711, "tapdisk"});
        between("users seen");
        return result;
    }
    SrTree current() override {
        between("trees");
        return trees_.current();
    }
    void began(const Step&, std::size_t, std::size_t) override { between("step"); }
    void advanced(Bytes, Bytes) override { between("batch"); }
    void ended(const StepResult&) override { between("step ended"); }

    std::unique_ptr<Passage> enter(const std::set<std::string>& leaves, const std::stop_token& stop) override {
        between("entering");
        auto passage = gate_.enter(leaves, stop);
        between("inside");
        return std::make_unique<WatchedPassage>(std::move(passage), claims_);
    }
    std::unique_ptr<LeafGuard> guard(const std::string& leaf) override {
        between("guard");
        return gate_.guard(leaf);
    }
    std::unique_ptr<Announcement> announce(const std::string& vdi) override {
        between("announcing");
        return std::make_unique<WatchedAnnouncement>(gate_.announce(vdi), claims_);
    }
    bool readers_ask_first() const override { return gate_.readers_ask_first(); }

private:
    void between(const char* place) {
        sm_.act();
        sm_.check_guests(place);
    }

    ScannedTrees trees_;
    SmModel& sm_;
    SmGate& gate_;
    const LockOrder& order_;
    Claims claims_;
};

void build_sr(MemoryStorage& storage, std::mt19937_64& random) {
    const Format format = random() % 2 == 0 ? Format::vhd : Format::qcow2;
    const auto some = [&] {
        return std::vector<Fill>{
            fill_at(4_KiB * (random() % 12), 4_KiB * (1 + random() % 6), static_cast<std::uint32_t>(random() | 1)),
            fill_at(4_KiB * (20 + random() % 4), 4_KiB, static_cast<std::uint32_t>(random() % 2))};
    };
    const Bytes size = 128_KiB;
    const Bytes smaller = random() % 3 == 0 ? 96_KiB : size;
    build(storage, small_image(format, "root", {}, true, some(), smaller));
    build(storage, small_image(format, "mid", "root", true, some(), random() % 2 == 0 ? smaller : size));
    build(storage, small_image(format, "left", "mid", false, some(), size));
    if (random() % 2 == 0) build(storage, small_image(format, "right", "mid", false, some(), size));
    if (random() % 3 == 0) build(storage, small_image(format, "trash", "root", true, some(), size));
}

void require_clean(const MemoryStorage& storage, const std::filesystem::path& root, const std::string& prefix) {
    for (const std::string& name : storage.names())
        EXPECT_FALSE(name.starts_with(prefix)) << name << " is left";
    std::error_code missing;
    for (const auto& entry : std::filesystem::directory_iterator{root / "run" / sr_uuid, missing})
        ADD_FAILURE() << entry.path() << " is left";
}

void run_one(std::uint64_t seed) {
    std::mt19937_64 random{seed};
    const TemporaryDirectory root;
    std::filesystem::create_directories(root / "locks");
    MemoryStorage storage;
    build_sr(storage, random);
    SmModel sm{storage, root.path(), sr_uuid, random()};
    LockOrder order;
    const SmLocks locks{root / "locks", order.observer(), [&](int) { return sm.waits_for_leaf(); }};
    SmGate::Patience none;
    none.whole = none.first = std::chrono::milliseconds{0};
    const auto journal = journal::Journal::open(root / "journal.db", journal::Journal::Create::yes);
    Policy policy;
    policy.direction = std::array{DirectionPolicy::automatic, DirectionPolicy::down, DirectionPolicy::up}[random() % 3];
    for (int round = 0; round < 2; ++round) {
        {
            SmGate gate{locks, root / "run", sr_uuid, none};
            Interleaved world{storage, sm, gate, order};
            Cycle{storage, journal.get(), world, world, world}.run(policy, {}, std::nullopt, world, sm.stop());
        }
        sm.check_guests("after the run");
        EXPECT_TRUE(order.nothing_held());
        require_clean(storage, root.path(), "coalesce_");
        sm.forget_abort();
    }
    EXPECT_TRUE(sm.settle()) << "an activation waits for ever";
    EXPECT_TRUE(visible_disks(storage) == sm.disks()) << "a disk has other bytes";
    {
        SmGate gate{locks, root / "run", sr_uuid, none};
        NobodyElse nobody;
        ScannedTrees trees{storage};
        NoProgress progress;
        const Outcome last =
            Cycle{storage, journal.get(), nobody, trees, gate}.run(policy, {}, std::nullopt, progress, {});
        for (const StepResult& failed : last.failed)
            ADD_FAILURE() << failed.error;
    }
    EXPECT_TRUE(visible_disks(storage) == sm.disks()) << "a disk has other bytes in the end";
    for (const char* prefix : {"coalesce_", "relink_", "leaf_", "OLD_"})
        require_clean(storage, root.path(), prefix);
    if (testing::Test::HasFailure()) ADD_FAILURE() << "seed " << seed << ": " << sm.trace();
}

/// COPPICE_INTERLEAVINGS: how many orders each shard runs.
std::uint64_t orders() {
    const char* const text = std::getenv("COPPICE_INTERLEAVINGS");
    return text == nullptr ? 2500 : std::strtoull(text, nullptr, 10);
}

class SmInterleaving : public testing::TestWithParam<std::uint64_t> {};

TEST_P(SmInterleaving, NeitherHarmsTheOther) { // INV-1, INV-2, INV-7, INV-13
    // Flushes are what takes the time, and nothing here is about them.
    if (std::filesystem::is_directory("/dev/shm")) ::setenv("TMPDIR", "/dev/shm", 0);
    for (std::uint64_t seed = GetParam() * 1'000'000; seed < GetParam() * 1'000'000 + orders() && !HasFailure(); ++seed)
        run_one(seed);
}

INSTANTIATE_TEST_SUITE_P(Shards, SmInterleaving, testing::Values(1, 2, 3, 4));

} // namespace
} // namespace coppice::test
