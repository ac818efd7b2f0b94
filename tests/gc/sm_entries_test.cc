#include "gc/sm/sm_entries.h"

#include "tests/support/memory_storage.h"

#include <gtest/gtest.h>

#include <map>

namespace coppice::test {
namespace {

const std::string one = "11111111-1111-4111-8111-111111111111";
const std::string two = "22222222-2222-4222-8222-222222222222";

TEST(SmEntries, ReadsEveryType) {
    MemoryStorage storage;
    for (const auto& [type, name] : std::map<SmEntryType, std::string>{{SmEntryType::coalesce, "coalesce_"},
                                                                       {SmEntryType::relink, "relink_"},
                                                                       {SmEntryType::leaf, "leaf_"},
                                                                       {SmEntryType::clone, "clone_"},
                                                                       {SmEntryType::zero, "zero_"}}) {
        EXPECT_EQ(sm_entry_name(type, one), name + one);
        storage.put_text(name + one, "1");
    }
    const auto entries = list_sm_entries(storage);
    ASSERT_EQ(entries.size(), 5U);
    EXPECT_EQ(entries[0], (SmEntry{SmEntryType::clone, one, "1", "clone_" + one, {}}));
    EXPECT_EQ(entries[4], (SmEntry{SmEntryType::zero, one, "1", "zero_" + one, {}}));
}

TEST(SmEntries, LeavesStrayNamesAlone) { // B30: sm's own listing fails on these
    MemoryStorage storage;
    const std::vector<std::string> names{"clone_of_db_2024.vhd",
                                         "leaf_",
                                         "leaf",
                                         "filelog.txt",
                                         one + ".vhd",
                                         "leaf_" + one + ".vhd",
                                         "leaf_" + one + "_" + two,
                                         "leaf_" + one.substr(1),
                                         "xleaf_" + one,
                                         "Leaf_" + one,
                                         "leaf__" + one,
                                         "inflate_" + one,
                                         "leaf_OLD_" + one,
                                         "relink_ " + one,
                                         ".leaf_" + one};
    for (const std::string& name : names)
        storage.put_text(name, two);
    storage.put_link("relink_" + two);
    EXPECT_TRUE(list_sm_entries(storage).empty());
}

TEST(SmEntries, EmptyFileIsNoEntry) {
    MemoryStorage storage;
    storage.put_text("leaf_" + one, "");
    EXPECT_TRUE(list_sm_entries(storage).empty());
}

TEST(SmEntries, ValueEndsBeforeLineEndsAndZeros) {
    for (const std::string_view end : {std::string_view{""}, std::string_view{"\n"}, std::string_view{"\r\n"},
                                       std::string_view{" \n\n"}, std::string_view{"\0\0\n", 3}}) {
        MemoryStorage storage;
        storage.put_text("leaf_" + one, two + std::string{end});
        const auto entries = list_sm_entries(storage);
        ASSERT_EQ(entries.size(), 1U);
        EXPECT_EQ(entries.front().value, two);
    }
}

TEST(SmEntries, ValueOfZerosIsAnEntryWithoutValue) {
    MemoryStorage storage;
    storage.put_text("leaf_" + one, std::string(36, '\0'));
    const auto entries = list_sm_entries(storage);
    ASSERT_EQ(entries.size(), 1U);
    EXPECT_EQ(entries.front().value, "");
    EXPECT_EQ(entries.front().trouble, "");
}

TEST(SmEntries, ReadsNoMoreThanAValueCanBe) {
    MemoryStorage storage;
    storage.put_text("clone_" + one, std::string(1'000'000, 'x'));
    const auto entries = list_sm_entries(storage);
    ASSERT_EQ(entries.size(), 1U);
    EXPECT_LT(entries.front().value.size(), 1000U);
}

TEST(SmEntries, UnreadableOneDoesNotHideTheOthers) {
    MemoryStorage storage;
    storage.put_text("leaf_" + one, two);
    storage.put_text("relink_" + two, "1");
    storage.refuse("leaf_" + one, std::errc::io_error);
    const auto entries = list_sm_entries(storage);
    ASSERT_EQ(entries.size(), 2U);
    EXPECT_EQ(entries[0].vdi, one);
    EXPECT_NE(entries[0].trouble, "");
    EXPECT_EQ(entries[1].value, "1");
}

TEST(SmEntries, OneThatVanishesIsNone) {
    MemoryStorage storage;
    storage.put_text("leaf_" + one, two);
    storage.vanish_when_opened("leaf_" + one);
    EXPECT_TRUE(list_sm_entries(storage).empty());
}

} // namespace
} // namespace coppice::test
