// SRs that sm was interrupted on, for the tests of the replay: base ← parent ← leaf, next to a tree without trouble.
#pragma once

#include "tests/gc/cycle_world.h"
#include "tests/support/sr_builder.h"

#include <gtest/gtest.h>

#include <set>

namespace coppice::test {

struct Formats {
    std::string name;
    Format parent;
    Format leaf;
};

inline const std::vector<Formats> all_formats{{"Vhd", Format::vhd, Format::vhd},
                                              {"Qcow2", Format::qcow2, Format::qcow2},
                                              {"Qcow2OverVhd", Format::vhd, Format::qcow2}};

/// Where the leaf holds data the parent does, too: that both map a place proves nothing about a merge.
inline void build_leaf_tree(MemoryStorage& storage, const Formats& formats, Bytes parent_size = 256_KiB,
                            Bytes leaf_size = 256_KiB) {
    build(storage,
          small_image(formats.parent, "base", {}, true, {fill_at(0_B, 64_KiB, 1), fill_at(96_KiB, 32_KiB, 2)}));
    build(storage, small_image(formats.parent, "parent", "base", true,
                               {fill_at(0_B, 40_KiB, 3), fill_at(64_KiB, 64_KiB, 4)}, parent_size));
    build(storage,
          small_image(formats.leaf, "leaf", "parent", false,
                      {fill_at(8_KiB, 8_KiB, 5), fill_at(72_KiB, 4_KiB, 0), fill_at(100_KiB, 20_KiB, 6)}, leaf_size));
}

inline void build_other_tree(MemoryStorage& storage) {
    build(storage, small_image(Format::qcow2, "obase", {}, true, {fill_at(0_B, 16_KiB, 11)}));
    build(storage, small_image(Format::qcow2, "oleaf", "obase", false, {fill_at(8_KiB, 16_KiB, 12)}));
    build(storage, small_image(Format::qcow2, "otrash", "obase", true, {fill_at(8_KiB, 16_KiB, 13)}));
}

inline const std::string base_uuid = uuid_of("base");
inline const std::string parent_uuid = uuid_of("parent");
inline const std::string leaf_uuid = uuid_of("leaf");
inline const std::string old_leaf = "OLD_" + leaf_uuid;

/// sm's steps 3 and 5 of a leaf merge; the data is a step of its own.
inline void begin_leaf_merge(MemoryStorage& storage) {
    storage.put_text("leaf_" + leaf_uuid, parent_uuid);
    mark_hidden(storage, parent_uuid, false);
}

inline void exchange_names(MemoryStorage& storage) {
    rename_node(storage, leaf_uuid, old_leaf);
    rename_node(storage, parent_uuid, leaf_uuid);
}

inline std::string file_named(const std::string& node, Format format) {
    return node + std::string{extension(format)};
}

using Names = std::set<std::string>;

inline Names names_of(const MemoryStorage& storage) {
    const auto names = storage.names();
    return {names.begin(), names.end()};
}

/// Every byte of every file.
inline std::map<std::string, std::vector<std::byte>> snapshot_of(const MemoryStorage& storage) {
    std::map<std::string, std::vector<std::byte>> result;
    for (const std::string& name : storage.names())
        result.emplace(name, storage.bytes(name));
    return result;
}

/// Replays and does nothing else.
inline Policy replay_only() {
    Policy policy;
    policy.collect = policy.coalesce = policy.leaf_coalesce = false;
    return policy;
}

/// Somebody has some files open.
class HeldOpen final : public Occupancy {
public:
    explicit HeldOpen(std::set<std::uint64_t> inodes) : inodes_{std::move(inodes)} {}

    std::unique_ptr<Claim> claim(BlockDevice&, Purpose) override { return std::make_unique<Claim>(); }
    std::optional<Opener> lock_holder(const BlockDevice&) override { return std::nullopt; }
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override {
        std::vector<std::vector<Opener>> result(images.size());
        for (std::size_t i = 0; i < images.size(); ++i)
            if (inodes_.contains(images[i].inode)) result[i].push_back({4711, "tapdisk"});
        return result;
    }

private:
    std::set<std::uint64_t> inodes_;
};

inline Outcome run_cycle_with(MemoryStorage& storage, Occupancy& occupancy, const Policy& policy) {
    const TemporaryDirectory directory;
    const auto journal = journal::Journal::open(directory / "journal.db", journal::Journal::Create::yes);
    ScannedTrees trees{storage};
    NoProgress progress;
    return Cycle{storage, journal.get(), occupancy, trees}.run(policy, {}, std::nullopt, progress, {});
}

inline Outcome run_cycle_once(MemoryStorage& storage, const Policy& policy) {
    NobodyElse nobody;
    return run_cycle_with(storage, nobody, policy);
}

inline std::string reason_for(const Outcome& outcome, const std::string& vdi) {
    for (const Skipped& skipped : outcome.skipped)
        if (skipped.vdi == vdi) return skipped.reason + ": " + skipped.text;
    return {};
}

/// The replay leaves every file as it is, says why for `vdi`, and the other tree goes on.
inline void expect_frozen(MemoryStorage& storage, const std::string& vdi, Occupancy& occupancy,
                          const std::string& text = {}) {
    const auto before = snapshot_of(storage);
    build_other_tree(storage);
    const Outcome outcome = run_cycle_with(storage, occupancy, {});
    auto after = snapshot_of(storage);
    EXPECT_EQ(after.erase(file_named(uuid_of("oleaf"), Format::qcow2)), 1U);
    EXPECT_TRUE(after == before) << "something was changed";
    EXPECT_EQ(outcome.failed.size(), 0U);
    const std::string reason = reason_for(outcome, vdi);
    EXPECT_NE(reason.find(text), std::string::npos) << "reason given: " << reason;
}

inline void expect_frozen(MemoryStorage& storage, const std::string& vdi, const std::string& text = {}) {
    NobodyElse nobody;
    expect_frozen(storage, vdi, nobody, text);
}

} // namespace coppice::test
