// Losing power at every change that a run makes, in turn.
#pragma once

#include "tests/gc/cycle_world.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>

namespace coppice::test {

/// What the host finds when it comes back.
struct Rebooted {
    MemoryStorage& storage; ///< with power that lasts
    const TemporaryDirectory& state;
    bool finished; ///< power lasted until the run ended
};

/// Calls `run(storage, state)` on one copy of `original` after the other, with power that fails at its first change,
/// its second, and so on; and each time `then(Rebooted)`. Ends after a run that power lasts for, or with a failure.
/// `seed` decides what is torn.
template <class Run, class Then>
void lose_power_at_every_change(const MemoryStorage& original, Unsynced unsynced, std::uint64_t seed, Run run,
                                Then then) {
    std::mt19937_64 random{seed};
    bool finished = false;
    for (std::uint64_t changes = 0; !finished && !testing::Test::HasFailure(); ++changes) {
        SCOPED_TRACE("power lost after change " + std::to_string(changes));
        PowerSupply power;
        const auto storage = original.copy(&power);
        const TemporaryDirectory state;
        power.fail_after(changes);
        try {
            run(*storage, state);
            finished = true;
        } catch (const PowerLost&) { // the reboot follows
        }
        power.never_fail();
        storage->lose_power(unsynced, random);
        then(Rebooted{*storage, state, finished});
    }
}

/// For names of cases.
inline std::string name_of(Unsynced unsynced) {
    return unsynced == Unsynced::kept ? "Kept" : unsynced == Unsynced::lost ? "Lost" : "Torn";
}

} // namespace coppice::test
