// What the replay makes of every state that an interrupted merge of a leaf can leave, and of those that none leaves.

#include "tests/gc/sm_world.h"

namespace coppice::test {
namespace {

class LeafReplay : public testing::TestWithParam<Formats> {
protected:
    void SetUp() override {
        build_leaf_tree(storage, GetParam());
        expected = disk_of(storage, leaf_uuid);
    }

    Names undone() const { return {named(base_uuid), named(parent_uuid), leaf_file()}; }
    Names finished() const { return {named(base_uuid), named(leaf_uuid)}; }
    std::string named(const std::string& node) const { return file_named(node, GetParam().parent); }
    std::string leaf_file() const { return file_named(leaf_uuid, GetParam().leaf); }

    /// Without them the base could be collected, or merged with one of them.
    void build_siblings(MemoryStorage& sr) {
        build(sr, small_image(GetParam().parent, "left", "base", false, {}));
        build(sr, small_image(GetParam().parent, "right", "base", false, {}));
    }

    /// A copy in which a merge of the leaf has begun.
    std::unique_ptr<MemoryStorage> begun() const {
        auto sr = storage.copy();
        begin_leaf_merge(*sr);
        return sr;
    }

    /// A run that only replays leaves these names, and the leaf as it was.
    void expect_left(MemoryStorage& sr, const Names& names) const {
        run_cycle_once(sr, replay_only());
        EXPECT_EQ(names_of(sr), names);
        EXPECT_TRUE(visible_disks(sr) == (GuestBytes{{leaf_uuid, expected}})) << "a guest reads other bytes";
    }

    /// One run that only replays, then one that does everything there is to do.
    void expect_replayed(const Names& names) {
        const Outcome outcome = run_cycle_once(storage, replay_only());
        EXPECT_EQ(names_of(storage), names);
        const SrTree tree = ScannedTrees{storage}.current();
        for (const TreeNode& node : tree.nodes)
            EXPECT_EQ(node.hidden, node.uuid != leaf_uuid) << node.uuid;
        EXPECT_TRUE(visible_disks(storage) == (GuestBytes{{leaf_uuid, expected}})) << "a guest reads other bytes";
        EXPECT_EQ(run_cycle_once(storage, {}).failed.size(), 0U);
        EXPECT_TRUE(visible_disks(storage) == (GuestBytes{{leaf_uuid, expected}})) << "a guest reads other bytes";
        EXPECT_EQ(storage.names().size(), 1U);
    }

    MemoryStorage storage;
    std::vector<std::byte> expected;
};

constexpr bool yes_and_no[] = {true, false};

TEST_P(LeafReplay, UndoesWhatStoppedBeforeTheNames) {
    for (const bool merged : yes_and_no)
        for (const bool leaf_hidden : yes_and_no)
            for (const bool parent_hidden : yes_and_no) {
                SCOPED_TRACE(testing::Message() << merged << leaf_hidden << parent_hidden);
                const auto sr = begun();
                if (merged) pour_into_parent(*sr, leaf_uuid);
                mark_hidden(*sr, parent_uuid, parent_hidden);
                mark_hidden(*sr, leaf_uuid, leaf_hidden);
                expect_left(*sr, undone());
            }
}

TEST_P(LeafReplay, UndoesBeforeTheNamesAndMerges) {
    begin_leaf_merge(storage);
    pour_into_parent(storage, leaf_uuid);
    expect_replayed(undone());
}

TEST_P(LeafReplay, UndoesTheFirstRename) {
    for (const bool merged : yes_and_no)
        for (const bool old_hidden : yes_and_no)
            for (const bool parent_hidden : yes_and_no) {
                SCOPED_TRACE(testing::Message() << merged << old_hidden << parent_hidden);
                const auto sr = begun();
                if (merged) pour_into_parent(*sr, leaf_uuid);
                rename_node(*sr, leaf_uuid, old_leaf);
                mark_hidden(*sr, parent_uuid, parent_hidden);
                mark_hidden(*sr, old_leaf, old_hidden);
                expect_left(*sr, undone());
            }
}

TEST_P(LeafReplay, FinishesACompleteExchange) {
    for (const bool old_hidden : yes_and_no)
        for (const bool leaf_hidden : yes_and_no) {
            SCOPED_TRACE(testing::Message() << old_hidden << leaf_hidden);
            const auto sr = begun();
            pour_into_parent(*sr, leaf_uuid);
            exchange_names(*sr);
            mark_hidden(*sr, old_leaf, old_hidden);
            mark_hidden(*sr, leaf_uuid, leaf_hidden);
            expect_left(*sr, finished());
        }
}

TEST_P(LeafReplay, UndoesAnExchangeWhoseDataNeverArrived) {
    // Every place that the leaf maps is mapped in the parent, too: only the bytes can tell.
    begin_leaf_merge(storage);
    exchange_names(storage);
    expect_replayed(undone());
}

TEST_P(LeafReplay, UndoesAHiddenExchangeWhoseDataNeverArrived) {
    begin_leaf_merge(storage);
    exchange_names(storage);
    mark_hidden(storage, old_leaf, true);
    expect_replayed(undone());
}

TEST_P(LeafReplay, RemovesTheEntryThatIsLeft) {
    begin_leaf_merge(storage);
    pour_into_parent(storage, leaf_uuid);
    exchange_names(storage);
    storage.remove(file_named(old_leaf, GetParam().leaf));
    expect_replayed(finished());
}

TEST_P(LeafReplay, DeletesTheLeafSetAsideThatIsLeft) {
    for (const bool old_hidden : yes_and_no) {
        SCOPED_TRACE(old_hidden);
        const auto sr = begun();
        pour_into_parent(*sr, leaf_uuid);
        exchange_names(*sr);
        mark_hidden(*sr, old_leaf, old_hidden);
        sr->remove("leaf_" + leaf_uuid);
        expect_left(*sr, finished());
    }
}

TEST_P(LeafReplay, KeepsALeafSetAsideThatMayBeNeeded) {
    for (const bool old_hidden : yes_and_no) {
        SCOPED_TRACE(old_hidden);
        const auto sr = begun();
        exchange_names(*sr);
        mark_hidden(*sr, old_leaf, old_hidden);
        sr->remove("leaf_" + leaf_uuid);
        expect_frozen(*sr, leaf_uuid, "sm-operation: ");
    }
}

// A guest that ran between the crash and the replay.

TEST_P(LeafReplay, KeepsWhatAGuestWroteBeforeTheNames) {
    begin_leaf_merge(storage);
    pour_into_parent(storage, leaf_uuid);
    write_to(storage, leaf_uuid, {fill_at(12_KiB, 8_KiB, 21), fill_at(200_KiB, 4_KiB, 22)});
    expected = disk_of(storage, leaf_uuid);
    expect_replayed(undone());
}

TEST_P(LeafReplay, KeepsWhatAGuestWroteAfterTheExchange) {
    begin_leaf_merge(storage);
    pour_into_parent(storage, leaf_uuid);
    exchange_names(storage);
    mark_hidden(storage, old_leaf, true);
    write_to(storage, leaf_uuid, {fill_at(8_KiB, 8_KiB, 21), fill_at(200_KiB, 4_KiB, 22)});
    expected = disk_of(storage, leaf_uuid);
    expect_replayed(finished());
}

TEST_P(LeafReplay, KeepsWhatAGuestWroteAfterTheEntryWasRemoved) {
    begin_leaf_merge(storage);
    pour_into_parent(storage, leaf_uuid);
    exchange_names(storage);
    mark_hidden(storage, old_leaf, true);
    storage.remove("leaf_" + leaf_uuid);
    write_to(storage, leaf_uuid, {fill_at(8_KiB, 8_KiB, 21)});
    expected = disk_of(storage, leaf_uuid);
    expect_replayed(finished());
}

TEST_P(LeafReplay, KeepsWhatAGuestWroteElsewhere) {
    begin_leaf_merge(storage);
    pour_into_parent(storage, leaf_uuid);
    exchange_names(storage);
    write_to(storage, leaf_uuid, {fill_at(200_KiB, 4_KiB, 22)});
    expected = disk_of(storage, leaf_uuid);
    expect_replayed(finished());
}

TEST_P(LeafReplay, DoesNotChooseBetweenAGuestAndTheLeafSetAside) {
    for (const bool merged : yes_and_no) {
        SCOPED_TRACE(merged);
        const auto sr = begun();
        if (merged) pour_into_parent(*sr, leaf_uuid);
        exchange_names(*sr);
        write_to(*sr, leaf_uuid, {fill_at(8_KiB, 4_KiB, 21)});
        expect_frozen(*sr, leaf_uuid, "by hand");
    }
}

TEST_P(LeafReplay, KeepsASnapshotTakenAfterTheExchange) {
    for (const bool old_hidden : yes_and_no)
        for (const bool written : yes_and_no) {
            SCOPED_TRACE(testing::Message() << old_hidden << written);
            const auto sr = begun();
            pour_into_parent(*sr, leaf_uuid);
            exchange_names(*sr);
            mark_hidden(*sr, old_leaf, old_hidden);
            rename_node(*sr, leaf_uuid, uuid_of("snap"));
            mark_hidden(*sr, uuid_of("snap"), true);
            build(*sr, small_image(GetParam().parent, "leaf", "snap", false, {}));
            if (written) write_to(*sr, leaf_uuid, {fill_at(8_KiB, 8_KiB, 31)});
            const auto now = disk_of(*sr, leaf_uuid);
            run_cycle_once(*sr, {});
            EXPECT_TRUE(disk_of(*sr, leaf_uuid) == now);
            run_cycle_once(*sr, {});
            EXPECT_TRUE(disk_of(*sr, leaf_uuid) == now);
        }
}

TEST_P(LeafReplay, KeepsASnapshotTakenBeforeTheNames) {
    begin_leaf_merge(storage);
    rename_node(storage, leaf_uuid, uuid_of("snap"));
    mark_hidden(storage, uuid_of("snap"), true);
    build(storage, small_image(GetParam().leaf, "leaf", "snap", false, {fill_at(9_KiB, 4_KiB, 31)}));
    expected = disk_of(storage, leaf_uuid);
    run_cycle_once(storage, {});
    EXPECT_TRUE(visible_disks(storage) == (GuestBytes{{leaf_uuid, expected}}));
    EXPECT_EQ(storage.names().size(), 1U);
}

// Sizes.

TEST_P(LeafReplay, UndoesAndFinishesLeavesOfAnotherSize) {
    for (const auto& [parent_size, leaf_size] : {std::pair{128_KiB, 256_KiB}, std::pair{256_KiB, 192_KiB}})
        for (int renames = 0; renames <= 2; ++renames)
            for (const bool merged : yes_and_no) {
                SCOPED_TRACE(testing::Message() << leaf_size.count() << " renames " << renames << merged);
                MemoryStorage fresh;
                build_leaf_tree(fresh, GetParam(), parent_size, leaf_size);
                const auto before = disk_of(fresh, leaf_uuid);
                begin_leaf_merge(fresh);
                if (merged) pour_into_parent(fresh, leaf_uuid);
                if (renames > 0) rename_node(fresh, leaf_uuid, old_leaf);
                if (renames > 1) rename_node(fresh, parent_uuid, leaf_uuid);
                run_cycle_once(fresh, {});
                EXPECT_TRUE(visible_disks(fresh) == (GuestBytes{{leaf_uuid, before}}));
                for (const std::string& name : fresh.names())
                    EXPECT_FALSE(name.starts_with("OLD_") || name.starts_with("leaf_")) << name;
            }
}

// States that no merge passes through.

TEST_P(LeafReplay, FreezesStatesOfNoMerge) {
    const auto fresh = [&] {
        auto copy = storage.copy();
        copy->put_text("leaf_" + leaf_uuid, parent_uuid);
        return copy;
    };
    {
        SCOPED_TRACE("all three");
        const auto sr = fresh();
        sr->put(file_named(old_leaf, GetParam().leaf), sr->bytes(leaf_file()));
        expect_frozen(*sr, leaf_uuid, "all at once");
    }
    {
        SCOPED_TRACE("no leaf at all");
        const auto sr = fresh();
        sr->remove(leaf_file());
        expect_frozen(*sr, parent_uuid, "sm-operation: leaf_");
    }
    {
        SCOPED_TRACE("only the one set aside");
        const auto sr = fresh();
        rename_node(*sr, leaf_uuid, old_leaf);
        sr->remove(named(parent_uuid));
        build_siblings(*sr);
        expect_frozen(*sr, old_leaf);
    }
    {
        SCOPED_TRACE("set aside with its parent, without an entry");
        const auto sr = fresh();
        sr->remove("leaf_" + leaf_uuid);
        rename_node(*sr, leaf_uuid, old_leaf);
        expect_frozen(*sr, parent_uuid, "the leaf itself is missing");
    }
    {
        SCOPED_TRACE("the leaf needs a parent that is gone");
        const auto sr = fresh();
        sr->remove(named(parent_uuid));
        build_siblings(*sr);
        expect_frozen(*sr, leaf_uuid);
    }
}

TEST_P(LeafReplay, FreezesWhatDoesNotStandOnTheParentThatTheEntryNames) {
    // Hiding an unrelated disk would make garbage of it.
    build(storage, small_image(GetParam().parent, "stranger", {}, false, {fill_at(0_B, 4_KiB, 41)}));
    storage.put_text("leaf_" + leaf_uuid, uuid_of("stranger"));
    expect_frozen(*storage.copy(), leaf_uuid, "does not stand on");
    rename_node(storage, leaf_uuid, old_leaf);
    expect_frozen(*storage.copy(), uuid_of("stranger"));
}

TEST_P(LeafReplay, FreezesAnExchangeWithAnotherParent) {
    begin_leaf_merge(storage);
    storage.put_text("leaf_" + leaf_uuid, uuid_of("stranger"));
    exchange_names(storage);
    expect_frozen(storage, leaf_uuid, "was not made on");
}

TEST_P(LeafReplay, FreezesValuesThatNameNoVdi) {
    for (const std::string& value :
         {std::string{"../../etc"}, parent_uuid.substr(0, 20), leaf_uuid, std::string{"1"}}) {
        SCOPED_TRACE(value);
        const auto sr = storage.copy();
        sr->put_text("leaf_" + leaf_uuid, value);
        expect_frozen(*sr, leaf_uuid, "does not name a parent");
    }
}

TEST_P(LeafReplay, RemovesAnEntryThatWasNeverWritten) {
    storage.put_text("leaf_" + leaf_uuid, std::string(36, '\0'));
    expect_replayed(undone());
}

TEST_P(LeafReplay, FreezesAnEntryThatCannotBeRead) {
    storage.put_text("leaf_" + leaf_uuid, parent_uuid);
    storage.refuse("leaf_" + leaf_uuid, std::errc::io_error);
    expect_frozen(storage, leaf_uuid, "cannot be read");
}

TEST_P(LeafReplay, FreezesImagesOfTwoEntries) {
    begin_leaf_merge(storage);
    storage.put_text("relink_" + parent_uuid, "1");
    expect_frozen(storage, leaf_uuid, "unfinished operations on the same image");
}

TEST_P(LeafReplay, FreezesAChainOfTwoLeafEntries) {
    begin_leaf_merge(storage);
    storage.put_text("leaf_" + parent_uuid, base_uuid);
    expect_frozen(storage, leaf_uuid, "unfinished operations on the same image");
}

TEST_P(LeafReplay, FreezesWhatIsDamaged) {
    for (const std::string& name : {leaf_file(), named(parent_uuid)}) {
        SCOPED_TRACE(name);
        const auto sr = storage.copy();
        begin_leaf_merge(*sr);
        auto bytes = sr->bytes(name);
        std::fill(bytes.begin(), bytes.begin() + 2048, std::byte{0});
        bytes.resize(bytes.size() / 2);
        sr->put(name, bytes);
        NobodyElse nobody;
        const auto before = snapshot_of(*sr);
        const Outcome outcome = run_cycle_with(*sr, nobody, {});
        EXPECT_EQ(names_of(*sr).size(), before.size());
        EXPECT_TRUE(snapshot_of(*sr) == before);
    }
}

TEST_P(LeafReplay, WaitsForSnapshotsAndGrowthOfSm) {
    for (const std::string& entry : {"clone_" + base_uuid, "zero_" + parent_uuid}) {
        SCOPED_TRACE(entry);
        const auto sr = storage.copy();
        sr->put_text(entry, uuid_of("gone") + "_" + leaf_uuid);
        expect_frozen(*sr, leaf_uuid, "by sm, which sm has to finish");
    }
    storage.put_text("zero_" + uuid_of("gone"), "4096");
    storage.put_text("coalesce_" + parent_uuid, "1");
    expect_replayed(undone());
}

// Images in use.

TEST_P(LeafReplay, WaitsForImagesInUse) {
    const auto held = [](MemoryStorage& sr, const std::string& file) {
        return HeldOpen{{sr.open(file, Access::read_only)->identity().inode}};
    };
    {
        SCOPED_TRACE("leaf before the names");
        const auto sr = storage.copy();
        begin_leaf_merge(*sr);
        HeldOpen tapdisk = held(*sr, leaf_file());
        expect_frozen(*sr, leaf_uuid, tapdisk, "tapdisk");
        run_cycle_once(*sr, {});
        EXPECT_TRUE(disk_of(*sr, leaf_uuid) == expected);
    }
    {
        SCOPED_TRACE("parent after the first rename");
        const auto sr = storage.copy();
        begin_leaf_merge(*sr);
        rename_node(*sr, leaf_uuid, old_leaf);
        HeldOpen tapdisk = held(*sr, named(parent_uuid));
        expect_frozen(*sr, parent_uuid, tapdisk, "tapdisk");
    }
    {
        SCOPED_TRACE("leaf after an incomplete exchange");
        const auto sr = storage.copy();
        begin_leaf_merge(*sr);
        exchange_names(*sr);
        HeldOpen tapdisk = held(*sr, named(leaf_uuid));
        expect_frozen(*sr, leaf_uuid, tapdisk, "tapdisk");
    }
    {
        SCOPED_TRACE("leaf set aside after a complete exchange");
        const auto sr = storage.copy();
        begin_leaf_merge(*sr);
        pour_into_parent(*sr, leaf_uuid);
        exchange_names(*sr);
        HeldOpen tapdisk = held(*sr, file_named(old_leaf, GetParam().leaf));
        expect_frozen(*sr, leaf_uuid, tapdisk, "tapdisk");
    }
}

TEST_P(LeafReplay, FinishesUnderARunningGuest) {
    begin_leaf_merge(storage);
    pour_into_parent(storage, leaf_uuid);
    exchange_names(storage);
    mark_hidden(storage, old_leaf, true);
    write_to(storage, leaf_uuid, {fill_at(8_KiB, 8_KiB, 21)});
    const auto now = disk_of(storage, leaf_uuid);
    HeldOpen guest{{storage.open(named(leaf_uuid), Access::read_only)->identity().inode}};
    run_cycle_with(storage, guest, {});
    EXPECT_EQ(names_of(storage), finished());
    EXPECT_TRUE(disk_of(storage, leaf_uuid) == now);
}

// A look changes nothing, and says what is waited for.

TEST_P(LeafReplay, PlanNamesTheEntry) {
    begin_leaf_merge(storage);
    const auto before = snapshot_of(storage);
    NobodyElse nobody;
    ScannedTrees trees{storage};
    FixedDirector director{Policy{}};
    const Plan plan = Cycle{storage, nullptr, nobody, trees}.plan(director);
    EXPECT_TRUE(snapshot_of(storage) == before);
    EXPECT_TRUE(plan.steps.empty());
    const Outcome as_outcome{{}, {}, plan.skipped, false};
    EXPECT_NE(reason_for(as_outcome, leaf_uuid).find("leaf_" + leaf_uuid), std::string::npos);
}

TEST_P(LeafReplay, PlanNamesTheEntryForALeafSetAside) {
    begin_leaf_merge(storage);
    exchange_names(storage);
    NobodyElse nobody;
    ScannedTrees trees{storage};
    FixedDirector director{Policy{}};
    const Plan plan = Cycle{storage, nullptr, nobody, trees}.plan(director);
    const Outcome as_outcome{{}, {}, plan.skipped, false};
    EXPECT_NE(reason_for(as_outcome, old_leaf).find("sm-operation: "), std::string::npos);
    EXPECT_NE(reason_for(as_outcome, old_leaf).find("leaf_" + leaf_uuid), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Formats, LeafReplay, testing::ValuesIn(all_formats),
                         [](const auto& each) { return each.param.name; });

} // namespace
} // namespace coppice::test
