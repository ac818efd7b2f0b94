// Header edits: what stands in the image after them, whether it is still valid, and how many sectors they cost.
#include "tests/format/vhd/vhd_world.h"

#include "format/base/error.h"
#include "format/vhd/check.h"
#include "format/vhd/headers.h"
#include "format/vhd/parent_locator.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace coppice::vhd::test {
namespace {

constexpr std::string_view first_name = "0f2a6a10-8d04-4e6b-9a7b-6f1a6a0d3a11.vhd";
constexpr std::string_view other_name = "7b1c9c52-1a3e-4c6f-8b2d-2f3e4d5c6b7a.vhd";

NewParent vhd_parent(std::string_view name) {
    return {std::string{name}, Format::vhd, Uuid::random(), 1'700'000'000};
}

Stored child_of(const NewParent& parent, Bytes block_size = 4_KiB) {
    NewDisk disk{64_KiB};
    disk.block_size = block_size;
    disk.parent = parent;
    return make({"child.vhd", disk});
}

void apply_edit(const Stored& stored, const HeaderEdit& edit) {
    apply(*stored.device(), edit);
}

/// The header as it stands, to be changed and put back.
template <class Change>
void change_header(const Stored& stored, Change change) {
    const auto device = stored.device();
    DynamicHeader header = *read_headers(*device).header;
    change(header.editable());
    device->write_at(512_B, header.pack());
}

void expect_parent(const Stored& stored, const NewParent& parent, const std::vector<std::string>& names) {
    const auto reference = stored.open()->parent();
    ASSERT_TRUE(reference);
    EXPECT_EQ(reference->names, names);
    EXPECT_EQ(reference->vhd_uuid, parent.vhd_uuid);
    EXPECT_EQ(reference->format, parent.format);
    const CheckReport report = check(*stored.device());
    EXPECT_EQ(report.verdict, Verdict::ok) << (report.findings.empty() ? "" : report.findings.front().text);
}

TEST(VhdRelink, RewritesAllLocatorsInPlace) {
    const Stored child = child_of(vhd_parent(first_name));
    const NewParent parent = vhd_parent(other_name);
    apply_edit(child, child.open()->relinked(parent));
    expect_parent(child, parent, {"./" + std::string{other_name}, std::string{other_name}});
    EXPECT_TRUE(child.open()->relinked(parent).empty());
}

TEST(VhdRelink, NoStateBetweenWritesIsHalfOfAnother) {
    const NewParent before = vhd_parent(first_name);
    const Stored child = child_of(before);
    const NewParent after = vhd_parent(other_name);
    const HeaderEdit edit = child.open()->relinked(after);
    ASSERT_FALSE(edit.empty());
    bool switched = false;
    for (const auto& phase : edit.phases)
        for (const Overwrite& overwrite : phase) {
            apply_edit(child, {{{overwrite}}});
            const auto reference = child.open()->parent();
            ASSERT_TRUE(reference);
            switched = switched || reference->vhd_uuid == after.vhd_uuid;
            const NewParent& expected = switched ? after : before;
            EXPECT_EQ(reference->vhd_uuid, expected.vhd_uuid);
            EXPECT_EQ(reference->names.front(), "./" + expected.name);
        }
    EXPECT_TRUE(switched);
}

TEST(VhdRelink, TakesRawParents) {
    const Stored child = child_of(vhd_parent(first_name));
    const NewParent parent{"base.raw", Format::raw, std::nullopt, 1'700'000'000};
    apply_edit(child, child.open()->relinked(parent));
    expect_parent(child, parent, {"./base.raw", "base.raw"});
    EXPECT_THROW(child.open()->relinked(NewParent{"base.qcow2", Format::qcow2, std::nullopt, 0}), Unsupported);
    EXPECT_THROW(child.open()->relinked(NewParent{"base.vhd", Format::vhd, std::nullopt, 0}), Unsupported);
}

TEST(VhdRelink, KeepsCodesOfSlots) {
    const Stored child = child_of(vhd_parent(first_name));
    change_header(child, [](disk::DynamicHeader& raw) {
        raw.locators[5] = raw.locators[2];
        raw.locators[0] = raw.locators[1] = raw.locators[2] = {};
    });
    const NewParent parent = vhd_parent(other_name);
    apply_edit(child, child.open()->relinked(parent));
    const Headers headers = read_headers(*child.device());
    EXPECT_EQ(headers.header->raw().locators[5].platform_code.value(), platform::w2ru);
    expect_parent(child, parent, {"./" + std::string{other_name}, std::string{other_name}});
}

TEST(VhdRelink, GivesLongNamesOtherRoom) {
    const Stored child = child_of(vhd_parent("a"));
    // Longer than one sector in UTF-16.
    const std::string name = std::string(252, 'n') + ".vhd";
    const NewParent parent = vhd_parent(name);
    apply_edit(child, child.open()->relinked(parent));
    expect_parent(child, parent, {"./" + name, name});
    // The footer has moved behind the new texts.
    std::mt19937_64 random{1};
    const auto before = child.open()->physical_size();
    EXPECT_LE(before, Bytes{child.file->bytes.size()});
}

TEST(VhdRelink, FindsRoomWhereThereWereNoLocators) {
    const Stored child = child_of(vhd_parent(first_name));
    change_header(child, [](disk::DynamicHeader& raw) { raw.locators = {}; });
    EXPECT_EQ(child.open()->parent()->names, std::vector<std::string>{std::string{first_name}});
    const NewParent parent = vhd_parent(other_name);
    apply_edit(child, child.open()->relinked(parent));
    expect_parent(child, parent, {"./" + std::string{other_name}, std::string{other_name}});
}

TEST(VhdRelink, RefusesWhereBlocksLeaveNoRoom) {
    const NewParent base = vhd_parent("a");
    const Stored child = child_of(base, 2_MiB);
    NewDisk raw{64_KiB};
    const Stored below = make({"a", raw});
    std::mt19937_64 random{2};
    scribble(child, {below}, random, 1);
    const auto bytes = child.file->bytes;
    EXPECT_THROW(child.open()->relinked(vhd_parent(std::string(300, 'n'))), Unsupported);
    EXPECT_EQ(child.file->bytes, bytes);
}

TEST(VhdRelink, NeverWritesIntoPlacesThatAreNotItsOwn) {
    const Stored child = child_of(vhd_parent(first_name));
    for (const Bytes hostile : {512_B, 1536_B, 2048_B, 1_TiB, Bytes{~std::uint64_t{0} - 100}}) {
        const Stored copy = child.copy();
        change_header(copy, [&](disk::DynamicHeader& raw) {
            for (std::size_t slot = 0; slot < 3; ++slot)
                raw.locators[slot].data_offset = hostile.count();
        });
        const auto before = guest_bytes({copy, make({"p", NewDisk{64_KiB}})});
        try {
            apply_edit(copy, copy.open()->relinked(vhd_parent(other_name)));
        } catch (const Error&) {
            continue;
        }
        EXPECT_EQ(guest_bytes({copy, make({"p", NewDisk{64_KiB}})}), before);
        EXPECT_TRUE(check(*copy.device()).readable);
    }
}

TEST(VhdRelink, MakesRootsAndChildren) {
    const NewParent parent = vhd_parent(first_name);
    const Stored disk = child_of(parent);
    apply_edit(disk, disk.open()->relinked(std::nullopt));
    EXPECT_FALSE(disk.open()->parent());
    EXPECT_EQ(check(*disk.device()).verdict, Verdict::ok);
    EXPECT_TRUE(disk.open()->relinked(std::nullopt).empty());
    apply_edit(disk, disk.open()->relinked(parent));
    expect_parent(disk, parent, {"./" + std::string{first_name}, std::string{first_name}});
}

TEST(VhdRelink, HidesOnBothFooters) {
    const Stored disk = child_of(vhd_parent(first_name));
    const HeaderEdit edit = disk.open()->with_hidden(true);
    ASSERT_EQ(edit.phases.size(), 2U);
    EXPECT_EQ(edit.phases[0].front().offset, Bytes{disk.file->bytes.size() - 512});
    EXPECT_EQ(edit.phases[1].front().offset, 0_B);
    apply_edit(disk, edit);
    EXPECT_TRUE(disk.open()->hidden());
    EXPECT_TRUE(disk.open()->with_hidden(true).empty());
    EXPECT_EQ(check(*disk.device()).verdict, Verdict::ok);
}

TEST(VhdRelink, PutsAMissingFooterBehindTheData) {
    const NewParent parent = vhd_parent(first_name);
    const Stored disk = child_of(parent);
    const Stored below = make({"p", NewDisk{64_KiB}});
    std::mt19937_64 random{3};
    scribble(disk, {below}, random, 5);
    const auto guest = guest_bytes({disk, below});
    // As a tapdisk leaves a file that has grown while it is open.
    disk.file->bytes.resize(disk.file->bytes.size() - 512);
    apply_edit(disk, disk.open()->with_hidden(true));
    EXPECT_EQ(guest_bytes({disk, below}), guest);
    EXPECT_EQ(check(*disk.device()).verdict, Verdict::ok);
}

} // namespace
} // namespace coppice::vhd::test
