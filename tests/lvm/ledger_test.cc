#include "lvm/ledger.h"

#include "format/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <thread>

namespace coppice::lvm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Ledger, ReturnsWhatAnOperationHasNotUsed) {
    Ledger ledger{Extents{10}};
    {
        Reservation merge = ledger.reserve("merge", Extents{6});
        EXPECT_EQ(ledger.available(), Extents{4});
        merge.spend(Extents{2}); // lvextend
        EXPECT_EQ(ledger.free(), Extents{8});
        EXPECT_EQ(ledger.reserved(), Extents{4});
        EXPECT_EQ(ledger.available(), Extents{4});
        merge.take_back(Extents{3}); // lvreduce of a child, for the next slice
        EXPECT_EQ(merge.held(), Extents{7});
        EXPECT_EQ(ledger.available(), Extents{4});
    }
    EXPECT_EQ(ledger.reserved(), Extents{0});
    EXPECT_EQ(ledger.available(), Extents{11});
    ledger.give_back(Extents{2}); // lvremove
    EXPECT_EQ(ledger.available(), Extents{13});
}

TEST(Ledger, RefusesAtTheExtentThatIsMissing) {
    Ledger ledger{Extents{10}};
    const Reservation first = ledger.reserve("first", Extents{3});
    const Reservation later = ledger.promise("later", Extents{2});
    EXPECT_NO_THROW(ledger.reserve("fits", Extents{5}));
    try {
        const Reservation second = ledger.reserve("second", Extents{6});
        FAIL() << "was granted";
    } catch (const Refused& refused) {
        EXPECT_EQ(refused.code(), "no-space");
        EXPECT_THAT(refused.what(), HasSubstr("second"));
        EXPECT_THAT(refused.what(), HasSubstr("needs 6 extents (25165824 bytes), free are 5 extents (20971520 bytes)"));
        EXPECT_THAT(refused.what(), HasSubstr("has 10, of which 3 are reserved and 2 promised"));
    }
    EXPECT_THAT(ledger.entries(), ElementsAre(Ledger::Entry{"first", Ledger::Kind::running, Extents{3}},
                                              Ledger::Entry{"later", Ledger::Kind::promise, Extents{2}}));
}

TEST(Ledger, APromiseBecomesAReservationWithoutAGap) {
    Ledger ledger{Extents{4}};
    Reservation promise = ledger.promise("inflate", Extents{4});
    EXPECT_EQ(ledger.promised(), Extents{4});
    const Reservation running = promise.hand_over("inflate now");
    EXPECT_EQ(promise.held(), Extents{0});
    EXPECT_EQ(ledger.promised(), Extents{0});
    EXPECT_EQ(ledger.reserved(), Extents{4});
    EXPECT_EQ(ledger.available(), Extents{0});
}

TEST(Ledger, KnowsWhatOthersHaveTaken) {
    Ledger ledger{Extents{10}};
    Reservation merge = ledger.reserve("merge", Extents{6});
    ledger.observe(Extents{4}); // somebody has made an LV
    EXPECT_EQ(ledger.shortfall(), Extents{2});
    EXPECT_EQ(ledger.available(), Extents{0});
    EXPECT_THROW(merge.grow(Extents{1}), Refused);
    EXPECT_NO_THROW(ledger.reserve("nothing", Extents{0}));
    merge.shrink(Extents{3});
    EXPECT_EQ(ledger.shortfall(), Extents{0});
    EXPECT_EQ(ledger.available(), Extents{1});
}

TEST(Ledger, DoesNotLetAnOperationExceedWhatItHolds) {
    Ledger ledger{Extents{10}};
    Reservation merge = ledger.reserve("merge", Extents{3});
    EXPECT_THROW(merge.spend(Extents{4}), std::logic_error);
    EXPECT_THROW(merge.shrink(Extents{4}), std::logic_error);
    EXPECT_THROW(merge.take_back(Extents{~0ULL}), std::overflow_error);
    EXPECT_EQ(merge.held(), Extents{3});
    EXPECT_EQ(ledger.free(), Extents{10});
    EXPECT_THROW(ledger.reserve("hostile", Extents{~0ULL}), Refused);
}

TEST(Ledger, MovedReservationsReturnOnce) {
    Ledger ledger{Extents{10}};
    {
        Reservation first = ledger.reserve("merge", Extents{3});
        const Reservation second = std::move(first);
        EXPECT_EQ(second.held(), Extents{3});
    }
    EXPECT_EQ(ledger.available(), Extents{10});
}

/// A volume group that knows nothing of the ledger.
struct Group {
    std::uint64_t total;
    std::uint64_t allocated = 0;
};

void check(const Ledger& ledger, const Group& group, std::uint64_t held) {
    ASSERT_EQ(ledger.free(), Extents{group.total - group.allocated});
    ASSERT_EQ(ledger.reserved() + ledger.promised(), Extents{held});
    ASSERT_LE(ledger.reserved() + ledger.promised(), ledger.free());
    ASSERT_EQ(ledger.reserved() + ledger.promised() + ledger.available(), ledger.free());
    ASSERT_EQ(ledger.shortfall(), Extents{0});
}

void random_life(std::uint64_t seed) {
    std::mt19937_64 random{seed};
    Group group{1 + random() % 60};
    Ledger ledger{Extents{group.total}};
    std::deque<std::pair<Reservation, std::uint64_t>> held; // with what each holds by our own count
    std::uint64_t sum = 0;
    const auto change = [&](std::size_t at, std::int64_t by) {
        held[at].second += static_cast<std::uint64_t>(by);
        sum += static_cast<std::uint64_t>(by);
    };
    for (int step = 0; step < 200; ++step) {
        const std::uint64_t amount = random() % 12;
        const std::uint64_t free = group.total - group.allocated - sum;
        const std::size_t at = held.empty() ? 0 : random() % held.size();
        const auto part = [&] { return held.empty() ? 0 : random() % (held[at].second + 1); };
        switch (held.empty() ? random() % 2 : random() % 8) {
        case 0:
        case 1: {
            const auto ask = [&] {
                return random() % 3 == 0 ? ledger.promise("p", Extents{amount}) : ledger.reserve("r", Extents{amount});
            };
            if (amount > free) {
                ASSERT_THROW(ask(), Refused);
                break;
            }
            held.emplace_back(ask(), amount);
            sum += amount;
            break;
        }
        case 2:
            if (amount > free) {
                ASSERT_THROW(held[at].first.grow(Extents{amount}), Refused);
                break;
            }
            held[at].first.grow(Extents{amount});
            change(at, static_cast<std::int64_t>(amount));
            break;
        case 3: {
            const std::uint64_t less = part();
            held[at].first.shrink(Extents{less});
            change(at, -static_cast<std::int64_t>(less));
            break;
        }
        case 4: {
            const std::uint64_t spent = part();
            held[at].first.spend(Extents{spent});
            group.allocated += spent;
            change(at, -static_cast<std::int64_t>(spent));
            break;
        }
        case 5: {
            const std::uint64_t back = random() % (group.allocated + 1);
            group.allocated -= back;
            if (random() % 2 == 0) {
                ledger.give_back(Extents{back});
            } else {
                held[at].first.take_back(Extents{back});
                change(at, static_cast<std::int64_t>(back));
            }
            break;
        }
        case 6:
            held.emplace_back(held[at].first.hand_over("next"), held[at].second);
            held[at].second = 0;
            break;
        case 7:
            // The front one, because a reservation cannot be assigned.
            sum -= held.front().second;
            held.pop_front();
            break;
        }
        ASSERT_NO_FATAL_FAILURE(check(ledger, group, sum)) << "step " << step;
        if (random() % 4 == 0) ledger.observe(Extents{group.total - group.allocated}); // nothing new
    }
    held.clear();
    ASSERT_EQ(ledger.available(), Extents{group.total - group.allocated});
    ASSERT_TRUE(ledger.entries().empty());
}

TEST(Ledger, AccountsHoldWhateverHappens) {
    for (std::uint64_t seed = 1; seed <= 500; ++seed)
        ASSERT_NO_FATAL_FAILURE(random_life(seed)) << "seed " << seed;
}

TEST(Ledger, GrantsNothingTwiceToThreads) {
    Ledger ledger{Extents{1000}};
    std::vector<std::jthread> threads;
    std::vector<std::uint64_t> spent(4);
    for (std::size_t number = 0; number < spent.size(); ++number)
        threads.emplace_back([&, number] {
            for (int round = 0; round < 500; ++round) {
                try {
                    Reservation one = ledger.reserve("one", Extents{2});
                    one.spend(Extents{1});
                    ++spent[number];
                } catch (const Refused&) {
                    return; // all are gone
                }
            }
        });
    threads.clear();
    std::uint64_t sum = 0;
    for (const std::uint64_t part : spent)
        sum += part;
    EXPECT_EQ(ledger.free(), Extents{1000 - sum});
    EXPECT_EQ(ledger.available(), ledger.free());
}

} // namespace
} // namespace coppice::lvm
