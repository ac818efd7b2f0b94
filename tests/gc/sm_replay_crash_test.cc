// Power is lost at every change that a replay makes; the next run reaches the state that an undisturbed one reaches.

#include "tests/gc/power_cuts.h"
#include "tests/gc/sm_world.h"

#include <functional>

namespace coppice::test {
namespace {

struct Interrupted {
    std::string name;
    std::function<void(MemoryStorage&)> arrange;
};

void fork_with_relink(MemoryStorage& storage, Format parent, Format leaf) {
    build(storage, small_image(parent, "parent", {}, true, {fill_at(0_B, 40_KiB, 3), fill_at(64_KiB, 64_KiB, 4)}));
    build(storage,
          small_image(parent, "merged", "parent", true, {fill_at(8_KiB, 8_KiB, 5), fill_at(72_KiB, 4_KiB, 0)}));
    build(storage, small_image(leaf, "left", "merged", false, {fill_at(12_KiB, 8_KiB, 7)}));
    build(storage, small_image(leaf, "right", "merged", false, {fill_at(130_KiB, 8_KiB, 8)}));
    storage.put_text("relink_" + uuid_of("merged"), "1");
}

std::vector<Interrupted> interrupted() {
    std::vector<Interrupted> result;
    for (const Formats& formats : all_formats) {
        const auto add = [&](const std::string& name, const std::function<void(MemoryStorage&)>& arrange) {
            result.push_back({formats.name + name, [=](MemoryStorage& storage) {
                                  build_leaf_tree(storage, formats);
                                  begin_leaf_merge(storage);
                                  arrange(storage);
                              }});
        };
        add("BeforeNames", [](MemoryStorage& storage) { pour_into_parent(storage, leaf_uuid); });
        add("OneRename", [](MemoryStorage& storage) {
            rename_node(storage, leaf_uuid, old_leaf);
            mark_hidden(storage, old_leaf, true);
        });
        add("ExchangedWithoutData", exchange_names);
        add("ExchangedHiddenWithoutData", [](MemoryStorage& storage) {
            exchange_names(storage);
            mark_hidden(storage, old_leaf, true);
        });
        add("Exchanged", [](MemoryStorage& storage) {
            pour_into_parent(storage, leaf_uuid);
            exchange_names(storage);
            mark_hidden(storage, leaf_uuid, true);
        });
        add("ExchangedAndRun", [](MemoryStorage& storage) {
            pour_into_parent(storage, leaf_uuid);
            exchange_names(storage);
            mark_hidden(storage, old_leaf, true);
            write_to(storage, leaf_uuid, {fill_at(8_KiB, 8_KiB, 21)});
        });
        add("WithoutEntry", [](MemoryStorage& storage) {
            pour_into_parent(storage, leaf_uuid);
            exchange_names(storage);
            storage.remove("leaf_" + leaf_uuid);
        });
        result.push_back({formats.name + "Relink", [=](MemoryStorage& storage) {
                              fork_with_relink(storage, formats.parent, formats.leaf);
                              pour_into_parent(storage, uuid_of("merged"));
                          }});
        result.push_back({formats.name + "RelinkWithoutData",
                          [=](MemoryStorage& storage) { fork_with_relink(storage, formats.parent, formats.leaf); }});
    }
    return result;
}

/// The last step of relinking leaves garbage when it is cut short.
Policy replay_and_collect() {
    Policy policy = replay_only();
    policy.collect = true;
    return policy;
}

class ReplayCrash : public testing::TestWithParam<std::tuple<Interrupted, Unsynced>> {};

TEST_P(ReplayCrash, AnyChangeMayBeTheLast) { // INV-1, INV-3
    const auto& [scenario, unsynced] = GetParam();
    MemoryStorage original;
    scenario.arrange(original);
    const auto undisturbed = original.copy();
    run_cycle_once(*undisturbed, replay_and_collect());
    const GuestBytes expected = visible_disks(*undisturbed);

    const auto replay = [](MemoryStorage& storage, const TemporaryDirectory& state) {
        run_cycle(storage, state, replay_and_collect());
    };
    lose_power_at_every_change(original, unsynced, 11, replay, [&](const Rebooted& found) {
        replay(found.storage, found.state);
        ASSERT_TRUE(visible_disks(found.storage) == expected) << "a guest reads other bytes";
        ASSERT_EQ(names_of(found.storage), names_of(*undisturbed));
    });
}

std::string case_name(const testing::TestParamInfo<ReplayCrash::ParamType>& info) {
    const auto& [scenario, unsynced] = info.param;
    return scenario.name + name_of(unsynced);
}

INSTANTIATE_TEST_SUITE_P(States, ReplayCrash,
                         testing::Combine(testing::ValuesIn(interrupted()),
                                          testing::Values(Unsynced::kept, Unsynced::lost, Unsynced::torn)),
                         case_name);

} // namespace
} // namespace coppice::test
