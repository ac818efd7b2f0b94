// Relinking that somebody was interrupted in: base ← parent ← merged ← {left, right}.

#include "tests/gc/sm_world.h"

namespace coppice::test {
namespace {

const std::string merged_uuid = uuid_of("merged");
const std::string left_uuid = uuid_of("left");
const std::string right_uuid = uuid_of("right");

class RelinkReplay : public testing::TestWithParam<Formats> {
protected:
    void SetUp() override {
        const Format format = GetParam().parent;
        build(storage, small_image(format, "base", {}, true, {fill_at(0_B, 64_KiB, 1)}));
        build(storage,
              small_image(format, "parent", "base", true, {fill_at(0_B, 40_KiB, 3), fill_at(64_KiB, 64_KiB, 4)}));
        build(storage, small_image(format, "merged", "parent", true,
                                   {fill_at(8_KiB, 8_KiB, 5), fill_at(72_KiB, 4_KiB, 0), fill_at(100_KiB, 20_KiB, 6)}));
        build(storage, small_image(GetParam().leaf, "left", "merged", false, {fill_at(12_KiB, 8_KiB, 7)}));
        build(storage, small_image(GetParam().leaf, "right", "merged", false, {fill_at(130_KiB, 8_KiB, 8)}));
        expected = visible_disks(storage);
        entry = "relink_" + merged_uuid;
        storage.put_text(entry, "1");
    }

    std::string named(const std::string& node) const { return file_named(node, GetParam().parent); }
    Names without_merged() const {
        return {named(base_uuid), named(parent_uuid), file_named(left_uuid, GetParam().leaf),
                file_named(right_uuid, GetParam().leaf)};
    }

    void expect_replayed(const Names& names) {
        run_cycle_once(storage, replay_only());
        EXPECT_EQ(names_of(storage), names);
        EXPECT_TRUE(visible_disks(storage) == expected) << "a guest reads other bytes";
        EXPECT_EQ(run_cycle_once(storage, {}).failed.size(), 0U);
        EXPECT_TRUE(visible_disks(storage) == expected) << "a guest reads other bytes";
        EXPECT_EQ(storage.names().size(), 3U);
    }

    MemoryStorage storage;
    GuestBytes expected;
    std::string entry;
};

TEST_P(RelinkReplay, RelinksAllChildren) {
    pour_into_parent(storage, merged_uuid);
    expect_replayed(without_merged());
}

TEST_P(RelinkReplay, RelinksTheChildrenThatAreLeft) {
    pour_into_parent(storage, merged_uuid);
    link_to(storage, left_uuid, parent_uuid);
    expect_replayed(without_merged());
}

TEST_P(RelinkReplay, DeletesWhenAllAreRelinked) {
    pour_into_parent(storage, merged_uuid);
    link_to(storage, left_uuid, parent_uuid);
    link_to(storage, right_uuid, parent_uuid);
    expect_replayed(without_merged());
}

TEST_P(RelinkReplay, MergesAgainWhereTheDataNeverArrived) {
    Names names = without_merged();
    names.insert(named(merged_uuid));
    expect_replayed(names);
}

TEST_P(RelinkReplay, FreezesMissingDataThatARelinkedChildMayNeed) {
    link_to(storage, left_uuid, parent_uuid);
    expect_frozen(storage, merged_uuid, "other children");
}

TEST_P(RelinkReplay, RemovesTheEntryOfAVdiThatIsGone) {
    pour_into_parent(storage, merged_uuid);
    link_to(storage, left_uuid, parent_uuid);
    link_to(storage, right_uuid, parent_uuid);
    storage.remove(named(merged_uuid));
    expect_replayed(without_merged());
}

TEST_P(RelinkReplay, DoesNotDeleteAVisibleVdi) {
    pour_into_parent(storage, merged_uuid);
    mark_hidden(storage, merged_uuid, false);
    expected = visible_disks(storage);
    run_cycle_once(storage, {});
    EXPECT_TRUE(visible_disks(storage) == expected);
    EXPECT_FALSE(storage.exists(entry));
}

TEST_P(RelinkReplay, MindsTheEndOfASmallerMergedVdi) {
    // Behind the end of the merged VDI its children read zeros, whatever the larger parent holds there.
    MemoryStorage fresh;
    const Format format = GetParam().parent;
    build(fresh, small_image(format, "parent", {}, true, {fill_at(64_KiB, 128_KiB, 4)}));
    build(fresh, small_image(format, "merged", "parent", true, {fill_at(8_KiB, 8_KiB, 5)}, 128_KiB));
    build(fresh, small_image(GetParam().leaf, "left", "merged", false, {fill_at(12_KiB, 8_KiB, 7)}));
    build(fresh, small_image(GetParam().leaf, "right", "merged", false, {}));
    const GuestBytes before = visible_disks(fresh);
    for (const bool merged : {false, true}) {
        SCOPED_TRACE(merged);
        const auto sr = fresh.copy();
        // As sm does it: what the child maps, and not what its end masks.
        if (merged) write_to(*sr, parent_uuid, {fill_at(8_KiB, 8_KiB, 5)});
        sr->put_text(entry, "1");
        run_cycle_once(*sr, replay_only());
        EXPECT_TRUE(visible_disks(*sr) == before);
        run_cycle_once(*sr, {});
        EXPECT_TRUE(visible_disks(*sr) == before);
    }
}

TEST_P(RelinkReplay, FreezesWhereAChildCannotBeRead) {
    pour_into_parent(storage, merged_uuid);
    for (const auto cause : {std::errc::io_error, std::errc::permission_denied}) {
        const auto sr = storage.copy();
        const std::string right = file_named(right_uuid, GetParam().leaf);
        sr->refuse(right, cause);
        const auto before = snapshot_of(*sr);
        run_cycle_once(*sr, {});
        EXPECT_TRUE(snapshot_of(*sr) == before);
    }
}

TEST_P(RelinkReplay, FreezesWhereAnAncestorCannotBeRead) {
    pour_into_parent(storage, merged_uuid);
    const auto before = snapshot_of(storage);
    storage.refuse(named(base_uuid), std::errc::io_error);
    run_cycle_once(storage, {});
    EXPECT_TRUE(snapshot_of(storage) == before);
}

TEST_P(RelinkReplay, BrokenTablesOfOneTreeDoNotStopTheOthers) {
    // The header is sound, the tables lead nowhere: found only when the data is looked at.
    auto bytes = storage.bytes(named(merged_uuid));
    const std::size_t begin = 2048; // behind the headers of both formats
    const bool vhd = GetParam().parent == Format::vhd;
    for (std::size_t at = vhd ? 1536 : 4096; at < bytes.size() && at < (vhd ? begin : std::size_t{24576}); ++at)
        if (vhd || at % 4096 < 512) bytes[at] = std::byte{0x7A};
    storage.put(named(merged_uuid), bytes);
    const auto before = snapshot_of(storage);
    build_other_tree(storage);
    EXPECT_NO_THROW(run_cycle_once(storage, {}));
    auto after = snapshot_of(storage);
    EXPECT_EQ(after.erase(file_named(uuid_of("oleaf"), Format::qcow2)), 1U);
    EXPECT_TRUE(after == before);
}

TEST_P(RelinkReplay, WaitsForImagesInUse) {
    pour_into_parent(storage, merged_uuid);
    const std::vector<std::string> files{named(merged_uuid), file_named(left_uuid, GetParam().leaf),
                                         file_named(right_uuid, GetParam().leaf)};
    for (const std::string& file : files) {
        SCOPED_TRACE(file);
        const auto sr = storage.copy();
        HeldOpen tapdisk{{sr->open(file, Access::read_only)->identity().inode}};
        expect_frozen(*sr, merged_uuid, tapdisk, "tapdisk");
        run_cycle_once(*sr, replay_only());
        EXPECT_FALSE(sr->exists(entry));
    }
}

TEST_P(RelinkReplay, DropsCoalesceEntriesBesideIt) {
    pour_into_parent(storage, merged_uuid);
    storage.put_text("coalesce_" + merged_uuid, "1");
    expect_replayed(without_merged());
}

INSTANTIATE_TEST_SUITE_P(Formats, RelinkReplay, testing::ValuesIn(all_formats),
                         [](const auto& each) { return each.param.name; });

} // namespace
} // namespace coppice::test
