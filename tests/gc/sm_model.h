// sm as it works beside us on one host, in one thread: attaches, detaches, writes, makes snapshots, deletes and asks
// the collector to end, under its own locks. What has to wait for a lock or for a run file goes on at a later call.
#pragma once

#include "gc/sm/sm_locks.h"
#include "tests/gc/cycle_world.h"
#include "tests/support/sr_builder.h"

#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

namespace coppice::test {

class SmModel {
public:
    /// `root` holds sm's directories.
    SmModel(MemoryStorage& storage, const std::filesystem::path& root, std::string sr, std::uint64_t seed);

    /// Something at random, or what had to wait; never while a call is under way.
    void act();
    /// All that waits gets its turn, and all disks are detached. False where something still has to wait.
    bool settle();
    /// Every guest reads what was written, its images are all there. Fails the test otherwise.
    void check_guests(const std::string& when) const;
    /// What every visible disk has to hold.
    const GuestBytes& disks() const { return disks_; }

    bool is_open(std::uint64_t inode) const;
    /// Somebody waits for the lock of this leaf.
    bool waits_for_leaf() const { return starting_ && !starting_->lock; }
    std::stop_token stop() const { return abort_.get_token(); }
    void forget_abort() { abort_ = {}; }
    std::string trace() const { return trace_; }

private:
    struct Guest {
        std::vector<std::unique_ptr<Image>> chain; ///< as opened: with what a reader remembers of tables
        std::map<std::uint64_t, std::vector<std::string>> parents; ///< by inode: whom its header named
        FileIdentity leaf;                                         ///< as it was opened, or written to
    };
    FileIdentity state_of(const std::string& leaf) const;

    struct Starting {
        std::string leaf;
        std::optional<SmLock> lock;
        std::set<std::string> run_files; ///< emptied, and waited for
    };

    void start_next(const std::string& leaf);
    bool go_on_starting();
    void cancel_merges();
    void open(const std::string& leaf);
    void stop(const std::string& leaf);
    void write(const std::string& leaf);
    void snapshot(const std::string& leaf);
    void remove(const std::string& leaf);
    std::optional<std::string> some_disk();
    void note(const std::string& what) { trace_ += what + "; "; }

    MemoryStorage& storage_;
    SmLocks locks_;
    std::filesystem::path run_files_;
    std::string sr_;
    std::mt19937_64 random_;
    GuestBytes disks_;
    std::map<std::string, Guest> guests_;
    std::optional<Starting> starting_;
    std::optional<SmLock> holding_sr_; ///< some command that takes its time
    std::stop_source abort_;
    std::string trace_;
    std::uint64_t calm_; ///< one call in so many does something
    int made_ = 0;
    bool busy_ = false;
};

} // namespace coppice::test
