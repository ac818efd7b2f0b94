#include "gc/scan/salvage.h"
#include "gc/scan/scan.h"

#include "format/base/error.h"
#include "tests/gc/image_bytes.h"
#include "tests/support/memory_storage.h"

#include <gmock/gmock.h>

namespace coppice {
namespace {

using test::image_bytes;
using test::ImageSpec;
using test::MemoryStorage;
using test::uuid_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string name_of(unsigned digit) {
    return uuid_of(digit).text();
}
std::string file_of(unsigned digit, Format format) {
    return name_of(digit) + std::string{extension(format)};
}

/// An SR under construction: images are called by numbers.
class Sr {
public:
    Sr& root(unsigned digit, Format format, bool hidden = true) {
        ImageSpec spec;
        spec.format = format;
        spec.hidden = hidden;
        return add(digit, spec);
    }
    Sr& child(unsigned digit, unsigned parent, Format format, bool hidden = false) {
        return child_over(digit, parent, format, format, hidden);
    }
    Sr& child_over(unsigned digit, unsigned parent, Format format, Format parent_format, bool hidden = false) {
        ImageSpec spec;
        spec.format = format;
        spec.hidden = hidden;
        spec.parent = file_of(parent, parent_format);
        spec.parent_format = parent_format;
        return add(digit, spec, parent);
    }
    Sr& add(unsigned digit, ImageSpec spec, unsigned parent = 0) {
        spec.uuid = uuid_of(digit);
        if (!spec.parent_uuid && spec.parent_format == Format::vhd) spec.parent_uuid = uuid_of(parent);
        storage.put(file_of(digit, spec.format), image_bytes(spec));
        return *this;
    }
    /// Overwrites the beginning of an image.
    Sr& destroy(unsigned digit, Format format, std::size_t from, std::size_t to, char with = '#') {
        auto bytes = storage.bytes(file_of(digit, format));
        std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.begin() + static_cast<std::ptrdiff_t>(to),
                  static_cast<std::byte>(with));
        storage.put(file_of(digit, format), bytes);
        return *this;
    }
    SrTree scan() { return scan_sr(storage, options); }

    MemoryStorage storage;
    ScanOptions options;
};

const TreeNode& node(const SrTree& tree, unsigned digit) {
    const TreeNode* found = tree.find(name_of(digit));
    if (found == nullptr) throw std::runtime_error{"no such node"};
    return *found;
}

void expect_damaged(const TreeNode& found, const std::string& reason, const std::string& text = "") {
    EXPECT_EQ(found.state, NodeState::damaged) << found.text;
    EXPECT_EQ(found.reason, reason);
    EXPECT_THAT(found.text, HasSubstr(text));
}

class EachFormat : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(Scan, EachFormat, testing::Values(Format::vhd, Format::qcow2),
                         [](const auto& test) { return std::string{to_string(test.param)}; });

TEST_P(EachFormat, FindsParentsAndFlags) {
    Sr sr;
    sr.root(1, GetParam()).child(2, 1, GetParam(), true).child(3, 2, GetParam()).child(4, 2, GetParam());
    const SrTree tree = sr.scan();
    EXPECT_TRUE(tree.complete);
    ASSERT_EQ(tree.nodes.size(), 4U);
    for (const TreeNode& each : tree.nodes)
        EXPECT_EQ(each.state, NodeState::ok) << each.text;
    EXPECT_EQ(node(tree, 1).parent, std::nullopt);
    EXPECT_EQ(node(tree, 3).parent, name_of(2));
    EXPECT_THAT(tree.children(name_of(2)), ElementsAre(name_of(3), name_of(4)));
    EXPECT_TRUE(node(tree, 2).hidden);
    EXPECT_FALSE(node(tree, 3).hidden);
    EXPECT_EQ(node(tree, 3).virtual_size, 4_MiB);
    EXPECT_NE(node(tree, 3).identity.inode, 0U);
}

TEST(Scan, LeavesOtherFilesAlone) {
    Sr sr;
    sr.root(1, Format::raw);
    const std::vector<std::string> others = {name_of(2),
                                             name_of(2) + ".cbtlog",
                                             name_of(2) + ".vhdcache",
                                             name_of(2) + ".vhd.new",
                                             ".journal-" + name_of(2),
                                             "coalesce_" + name_of(2),
                                             ".coppice-x",
                                             "filelog.txt",
                                             "disk.vhd",
                                             "x" + name_of(2) + ".vhd",
                                             name_of(2) + "x.vhd",
                                             "OLD_disk.vhd",
                                             "OLD_OLD_" + name_of(2) + ".vhd",
                                             name_of(2) + ".iso",
                                             std::string{".vhd"}};
    for (const std::string& name : others)
        sr.storage.put_text(name, "x");
    const SrTree tree = sr.scan();
    EXPECT_TRUE(tree.complete);
    EXPECT_EQ(tree.nodes.size(), 1U);
}

TEST(Scan, TakesALeafThatWasSetAsideForAnImage) {
    Sr sr;
    ImageSpec spec;
    spec.hidden = true;
    sr.storage.put("OLD_" + file_of(1, Format::vhd), image_bytes(spec));
    EXPECT_EQ(sr.scan().nodes.at(0).uuid, "OLD_" + name_of(1));
}

TEST(Scan, AcceptsTheWaysInWhichAParentIsNamed) {
    for (const std::string_view prefix : {"", "./", "/var/run/sr-mount/any/", "/run/sr-mount/any/", "/sr/here/"}) {
        Sr sr;
        sr.options.inside_sr = inside_directory("/sr/here");
        ImageSpec spec;
        spec.format = Format::qcow2;
        spec.parent = std::string{prefix} + file_of(1, Format::qcow2);
        spec.parent_format = Format::qcow2;
        sr.root(1, Format::qcow2).add(2, spec);
        EXPECT_EQ(node(sr.scan(), 2).parent, name_of(1)) << prefix;
    }
}

TEST(Scan, NeverFollowsANameOutOfTheSr) {
    for (const std::string_view prefix : {"../other/", "/mnt/other/", "sub/", "nbd:"}) {
        Sr sr;
        ImageSpec spec;
        spec.format = Format::qcow2;
        spec.parent = std::string{prefix} + file_of(1, Format::qcow2);
        spec.parent_format = Format::qcow2;
        sr.root(1, Format::qcow2).add(2, spec);
        const SrTree tree = sr.scan();
        expect_damaged(node(tree, 2), "image-damaged", "leads out of the SR");
        EXPECT_EQ(node(tree, 2).parent, std::nullopt);
        EXPECT_THAT(node(tree, 2).suspected_parents, ElementsAre(name_of(1)));
        EXPECT_TRUE(tree.complete);
    }
}

TEST_P(EachFormat, SaysThatAParentIsMissing) {
    Sr sr;
    sr.child(2, 1, GetParam()).child(3, 2, GetParam()).root(4, GetParam());
    const SrTree tree = sr.scan();
    expect_damaged(node(tree, 2), "parent-missing", file_of(1, GetParam()));
    EXPECT_EQ(node(tree, 3).state, NodeState::ok) << "its own header is sound";
    EXPECT_EQ(node(tree, 4).state, NodeState::ok);
    EXPECT_TRUE(tree.complete);
}

TEST(Scan, RefusesAParentWithAnotherUuid) {
    Sr sr;
    ImageSpec spec;
    spec.parent = file_of(1, Format::vhd);
    spec.parent_uuid = uuid_of(9);
    sr.root(1, Format::vhd).add(2, spec);
    const SrTree tree = sr.scan();
    expect_damaged(node(tree, 2), "image-damaged", name_of(9));
    EXPECT_EQ(node(tree, 2).parent, name_of(1));
}

TEST(Scan, RefusesARecordedFormatThatDoesNotFit) {
    Sr sr;
    ImageSpec spec;
    spec.format = Format::qcow2;
    spec.parent = file_of(1, Format::qcow2);
    spec.parent_format = Format::raw;
    sr.root(1, Format::qcow2).add(2, spec);
    expect_damaged(node(sr.scan(), 2), "image-damaged", "format raw");
}

TEST(Scan, TakesAParentWithoutRecordedFormat) {
    Sr sr;
    ImageSpec spec;
    spec.format = Format::qcow2;
    spec.parent = file_of(1, Format::qcow2);
    spec.parent_format = Format::qcow2;
    spec.record_parent_format = false;
    sr.root(1, Format::qcow2).add(2, spec);
    EXPECT_EQ(node(sr.scan(), 2).state, NodeState::ok);
}

TEST(Scan, KnowsWhichFormatsStackUp) {
    Sr sr;
    sr.root(1, Format::qcow2).root(2, Format::vhd).root(3, Format::raw).child(4, 2, Format::vhd);
    sr.child_over(11, 1, Format::vhd, Format::qcow2);
    sr.child_over(12, 2, Format::qcow2, Format::vhd);
    sr.child_over(13, 3, Format::vhd, Format::raw);
    sr.child_over(14, 3, Format::qcow2, Format::raw);
    sr.child_over(15, 4, Format::qcow2, Format::vhd);
    const SrTree tree = sr.scan();
    EXPECT_EQ(node(tree, 11).state, NodeState::damaged);
    EXPECT_EQ(node(tree, 12).state, NodeState::ok) << node(tree, 12).text;
    EXPECT_EQ(node(tree, 13).state, NodeState::ok) << node(tree, 13).text;
    EXPECT_EQ(node(tree, 14).state, NodeState::ok) << node(tree, 14).text;
    // QEMU would read it without the parent of its parent; we read all of it.
    EXPECT_EQ(node(tree, 15).state, NodeState::ok) << node(tree, 15).text;
}

TEST(Scan, TriesLocatorsInTheirOrder) {
    Sr sr;
    ImageSpec spec;
    spec.parent = file_of(1, Format::vhd);
    spec.parent_uuid = uuid_of(2);
    spec.locators = {"./" + file_of(9, Format::vhd), "./" + file_of(2, Format::vhd), "./" + file_of(1, Format::vhd)};
    sr.root(1, Format::vhd).root(2, Format::vhd).add(3, spec);
    const SrTree tree = sr.scan();
    EXPECT_EQ(node(tree, 3).parent, name_of(2));
    EXPECT_EQ(node(tree, 3).state, NodeState::ok) << node(tree, 3).text;
}

TEST_P(EachFormat, BreaksCycles) {
    Sr sr;
    sr.child(1, 3, GetParam(), true).child(2, 1, GetParam(), true).child(3, 2, GetParam(), true);
    sr.child(4, 3, GetParam()).child(5, 5, GetParam()).root(6, GetParam());
    const SrTree tree = sr.scan();
    for (const unsigned member : {1U, 2U, 3U, 5U}) {
        expect_damaged(node(tree, member), "chain-cycle");
        EXPECT_EQ(node(tree, member).parent, std::nullopt);
    }
    EXPECT_THAT(node(tree, 1).suspected_parents, ElementsAre(name_of(3)));
    EXPECT_EQ(node(tree, 4).parent, name_of(3));
    EXPECT_EQ(node(tree, 4).state, NodeState::ok);
    EXPECT_EQ(node(tree, 6).state, NodeState::ok);
}

TEST(Scan, FreezesAUuidWithTwoFiles) {
    Sr sr;
    sr.root(1, Format::vhd)
        .root(2, Format::qcow2)
        .child(3, 1, Format::vhd)
        .child(3, 2, Format::qcow2)
        .child(4, 3, Format::vhd);
    const SrTree tree = sr.scan();
    EXPECT_EQ(tree.nodes.size(), 4U);
    expect_damaged(node(tree, 3), "image-unknown", file_of(3, Format::qcow2));
    EXPECT_THAT(node(tree, 3).suspected_parents, ElementsAre(name_of(1), name_of(2)));
    EXPECT_EQ(node(tree, 4).parent, name_of(3));
    EXPECT_TRUE(tree.complete);
}

TEST_P(EachFormat, QuarantinesOneBadImageOnly) {
    Sr sr;
    sr.root(1, GetParam()).child(2, 1, GetParam()).root(3, GetParam());
    sr.storage.put_text(file_of(4, GetParam()), "this never was an image");
    sr.storage.put_text(file_of(5, GetParam()), "x");
    const SrTree tree = sr.scan();
    EXPECT_TRUE(tree.complete);
    expect_damaged(node(tree, 4), "image-damaged");
    expect_damaged(node(tree, 5), "image-damaged");
    EXPECT_THAT(node(tree, 4).suspected_parents, IsEmpty());
    EXPECT_EQ(node(tree, 2).state, NodeState::ok);
}

TEST_P(EachFormat, SuspectsOrphansWhereAnImageHasLostEverything) {
    for (const std::string& content : {std::string{}, std::string(70'000, '\0')}) {
        Sr sr;
        sr.root(1, GetParam()).child(2, 1, GetParam()).root(3, GetParam()).root(4, GetParam(), false);
        sr.storage.put_text(file_of(5, GetParam()), content);
        const SrTree tree = sr.scan();
        EXPECT_TRUE(tree.complete);
        EXPECT_THAT(node(tree, 5).suspected_parents, ElementsAre(name_of(3))) << "1 has a child, 4 is visible";
    }
}

TEST_P(EachFormat, SuspectsOrphansOfAnImageThatIsCutOffInItsHeader) {
    Sr sr;
    sr.root(1, GetParam(), true).child(2, 1, GetParam());
    for (const std::size_t length : {12U, 100U}) {
        auto bytes = sr.storage.bytes(file_of(2, GetParam()));
        bytes.resize(length);
        sr.storage.put(file_of(2, GetParam()), bytes);
        const SrTree tree = sr.scan();
        EXPECT_TRUE(tree.complete) << "one image without any data must not hold up the others, length " << length;
        EXPECT_THAT(node(tree, 2).suspected_parents, ElementsAre(name_of(1)));
        sr.child(2, 1, GetParam());
    }
}

TEST_P(EachFormat, FindsTheParentsNameInADamagedHeader) {
    Sr sr;
    sr.root(1, GetParam()).root(3, GetParam()).child(2, 1, GetParam());
    const auto broken = GetParam() == Format::vhd ? std::pair{std::size_t{512}, std::size_t{1024}}
                                                  : std::pair{std::size_t{20}, std::size_t{60}};
    sr.destroy(2, GetParam(), broken.first, broken.second);
    const SrTree tree = sr.scan();
    EXPECT_EQ(node(tree, 2).state, NodeState::damaged);
    EXPECT_THAT(node(tree, 2).suspected_parents, ElementsAre(name_of(1)));
    EXPECT_TRUE(tree.complete);
}

TEST_P(EachFormat, IsIncompleteWhereAParentIsCertainButUnknown) {
    Sr sr;
    sr.root(1, GetParam()).child(2, 1, GetParam());
    sr.destroy(2, GetParam(), 0, 8192, '\0');
    EXPECT_FALSE(sr.scan().complete);

    sr.options.last_known = [](const std::string& vdi) -> std::optional<journal::NodeVersion> {
        if (vdi == name_of(2)) return journal::NodeVersion{vdi, "vhd", name_of(7), false, 0};
        if (vdi == name_of(7)) return journal::NodeVersion{vdi, "vhd", name_of(1), true, 0};
        if (vdi == name_of(1)) return journal::NodeVersion{vdi, "vhd", std::nullopt, true, 0};
        return std::nullopt;
    };
    const SrTree remembered = sr.scan();
    EXPECT_TRUE(remembered.complete);
    EXPECT_THAT(node(remembered, 2).suspected_parents, ElementsAre(name_of(1))) << "7 is gone, so it was merged into 1";
}

TEST(Scan, SuspectsBasesThatNobodyRemembers) {
    Sr sr;
    sr.root(1, Format::vhd).child(2, 1, Format::vhd).root(3, Format::vhd, true).root(4, Format::vhd, false);
    sr.storage.refuse(file_of(2, Format::vhd), std::errc::permission_denied);
    sr.options.last_known = [](const std::string& vdi) -> std::optional<journal::NodeVersion> {
        if (vdi == name_of(2)) return journal::NodeVersion{vdi, "vhd", name_of(1), false, 0};
        if (vdi == name_of(1)) return journal::NodeVersion{vdi, "vhd", std::nullopt, true, 0};
        return std::nullopt;
    };
    const SrTree tree = sr.scan();
    EXPECT_EQ(node(tree, 2).state, NodeState::unknown);
    EXPECT_EQ(node(tree, 2).reason, "image-unknown");
    EXPECT_THAT(node(tree, 2).suspected_parents, ElementsAre(name_of(1), name_of(3)));
    EXPECT_TRUE(tree.complete);
}

TEST(Scan, KnowsNothingOfWhatItCannotRead) {
    for (const Format format : {Format::vhd, Format::qcow2}) {
        Sr sr;
        sr.root(1, format);
        sr.storage.put_link(file_of(2, format));
        const SrTree link = sr.scan();
        EXPECT_EQ(node(link, 2).state, NodeState::unknown);
        EXPECT_EQ(node(link, 1).state, NodeState::ok);
        EXPECT_FALSE(link.complete);
        sr.storage.remove(file_of(2, format));
        sr.storage.refuse(file_of(1, format), std::errc::io_error);
        EXPECT_FALSE(sr.scan().complete);
    }
    Sr sr;
    sr.root(1, Format::raw);
    sr.storage.refuse(file_of(1, Format::raw), std::errc::io_error);
    EXPECT_TRUE(sr.scan().complete) << "a raw image depends on nothing";
}

TEST(Scan, TakesWhatStandsBehindAForeignNameForUnknown) {
    Sr sr;
    sr.root(1, Format::qcow2);
    ImageSpec spec;
    spec.format = Format::qcow2;
    spec.parent = "base.qcow2";
    spec.parent_format = Format::qcow2;
    sr.add(2, spec);
    EXPECT_TRUE(sr.scan().complete) << "there is nothing of that name";
    sr.storage.put_link("base.qcow2");
    EXPECT_FALSE(sr.scan().complete) << "the link may lead to 1";
    sr.options.last_known = [](const std::string& vdi) {
        return std::optional{journal::NodeVersion{
            vdi, "qcow2", vdi == name_of(2) ? std::optional{name_of(1)} : std::nullopt, vdi == name_of(1), 0}};
    };
    const SrTree remembered = sr.scan();
    EXPECT_TRUE(remembered.complete);
    EXPECT_THAT(node(remembered, 2).suspected_parents, ElementsAre(name_of(1)));
}

TEST(Scan, RemembersWhatAMissingParentStoodOn) {
    Sr sr;
    sr.root(1, Format::vhd).child(2, 1, Format::vhd, true).child(3, 2, Format::vhd);
    sr.storage.remove(file_of(2, Format::vhd));
    sr.options.last_known = [](const std::string& vdi) -> std::optional<journal::NodeVersion> {
        if (vdi == name_of(3)) return journal::NodeVersion{vdi, "vhd", name_of(2), false, 0};
        if (vdi == name_of(2)) return journal::NodeVersion{vdi, "vhd", name_of(1), true, 0};
        return journal::NodeVersion{vdi, "vhd", std::nullopt, true, 0};
    };
    EXPECT_THAT(node(sr.scan(), 3).suspected_parents, ElementsAre(name_of(1))) << "2 may come back";
}

TEST(Scan, LooksAgainWhenAFileVanishes) {
    Sr sr;
    sr.root(1, Format::vhd).child(2, 1, Format::vhd);
    sr.storage.vanish_when_opened(file_of(2, Format::vhd));
    const SrTree tree = sr.scan();
    EXPECT_EQ(tree.nodes.size(), 1U);
    EXPECT_TRUE(tree.complete);
}

TEST(Scan, RemembersSizesOfUnchangedImages) {
    Sr sr;
    ImageSpec spec;
    spec.format = Format::qcow2;
    spec.pages = {{0, 'a'}, {7, 'b'}};
    sr.add(1, spec);
    SizeCache sizes;
    sr.options.sizes = &sizes;
    const TreeNode first = node(sr.scan(), 1);
    EXPECT_EQ(first.allocated_size, 8_KiB);
    EXPECT_EQ(sizes.find(first.file, first.identity), 8_KiB);
    EXPECT_EQ(node(sr.scan(), 1).allocated_size, 8_KiB);
    spec.pages[9] = 'c';
    sr.add(1, spec);
    EXPECT_EQ(node(sr.scan(), 1).allocated_size, 12_KiB);
    sr.storage.remove(first.file);
    sr.scan();
    EXPECT_EQ(sizes.find(first.file, first.identity), std::nullopt);
}

TEST(Scan, ReadsManyImagesWithSeveralThreads) {
    Sr sr;
    sr.options.threads = 4;
    for (unsigned digit = 1; digit < 200; ++digit)
        sr.child(digit, digit - 1, Format::vhd, digit % 3 == 0);
    sr.root(0, Format::vhd);
    const SrTree tree = sr.scan();
    EXPECT_EQ(tree.nodes.size(), 200U);
    EXPECT_TRUE(std::ranges::is_sorted(tree.nodes, {}, &TreeNode::uuid));
}

TEST(MentionedUuids, AreFoundWithHyphensDoubledToo) {
    const std::string uuid = "6b2c3d4e-0000-4000-8000-00000000abcd";
    const std::string device = "VG_XenStorage--x-VHD--6B2C3D4E--0000--4000--8000--00000000abcd";
    std::string wide;
    for (const char c : device)
        wide += std::string{c} + '\0';
    for (const std::string& text : {"x" + uuid, "./" + device, device + "y", wide, wide.substr(0, wide.size() - 1)})
        EXPECT_EQ(mentioned_uuids(std::as_bytes(std::span{text}), {uuid}), std::set<std::string>{uuid}) << text;
    for (const std::string& text :
         {uuid.substr(0, 35), device.substr(0, device.size() - 1), wide.substr(0, wide.size() - 2),
          std::string{"6b2c3d4e---0000-4000-8000-00000000abcd"}})
        EXPECT_TRUE(mentioned_uuids(std::as_bytes(std::span{text}), {uuid}).empty()) << text;
}

} // namespace
} // namespace coppice
