#include "gc/scan/chain_open.h"

#include "format/base/error.h"
#include "gc/base/exit_status.h"
#include "tests/support/stored_images.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>

namespace coppice {
namespace {

namespace fs = std::filesystem;

class ChainOpenTest : public testing::Test {
protected:
    ChainOpenTest() {
        fs::create_directories(directory.path() / "sub" / "deep");
        std::ofstream{directory.path() / "base.raw"} << std::string(4096, 'x');
        std::ofstream{directory.path() / "sub" / "disk.raw"} << std::string(512, 'y');
    }

    test::TemporaryDirectory directory;
};

TEST_F(ChainOpenTest, ResolvesNamesBelowTheRoot) {
    const ChainRoot root{directory.path()};
    EXPECT_EQ(root.resolve("base.vhd", "leaf.vhd"), "base.vhd");
    EXPECT_EQ(root.resolve("./base.vhd", "leaf.vhd"), "base.vhd");
    EXPECT_EQ(root.resolve("../../base.vhd", "sub/deep/leaf.vhd"), "base.vhd");
    EXPECT_EQ(root.resolve("base.vhd", "sub/leaf.vhd"), "sub/base.vhd");
    EXPECT_EQ(root.resolve("deep/.././/base.vhd", "sub/leaf.vhd"), "sub/base.vhd");
    EXPECT_EQ(root.resolve(root.path() + "/sub/base.vhd", "leaf.vhd"), "sub/base.vhd");
    // As sm records it on an SR of which this directory is a copy.
    EXPECT_EQ(root.resolve("/var/run/sr-mount/6b2c3d4e-0000-4000-8000-00000000abcd/base.vhd", "sub/leaf.vhd"),
              "sub/base.vhd");
}

TEST_F(ChainOpenTest, ResolvesNothingThatLeadsOut) {
    const ChainRoot root{directory.path()};
    using namespace std::string_view_literals;
    for (const auto name : {""sv, ".."sv, "."sv, "../base.vhd"sv, "sub/../../base.vhd"sv, "/etc/passwd"sv,
                            "/base.vhd"sv, "json:{\"driver\":\"file\"}"sv, "nbd:localhost:10809"sv, "file:base.vhd"sv,
                            "base.vhd/"sv, "a\0b"sv, "/var/run/sr-mount/x/../../../etc/passwd"sv})
        EXPECT_EQ(root.resolve(name, "leaf.vhd"), std::nullopt) << name;
    EXPECT_EQ(root.resolve("../../../base.vhd", "sub/deep/leaf.vhd"), std::nullopt);
    EXPECT_EQ(root.resolve(root.path() + "/../base.vhd", "leaf.vhd"), std::nullopt);
    EXPECT_EQ(root.resolve(root.path() + "-other/base.vhd", "leaf.vhd"), std::nullopt);
}

TEST_F(ChainOpenTest, OpensFilesAndNothingElse) {
    const ChainRoot root{directory.path()};
    EXPECT_EQ(root.open("sub/disk.raw")->size(), 512_B);
    EXPECT_THROW(root.open("sub/none.raw"), NotFound);
    EXPECT_THROW(root.open("none/disk.raw"), NotFound);
    EXPECT_THROW(root.open("base.raw/disk.raw"), NotFound);
    EXPECT_THROW(root.open("sub"), Refused);
    ASSERT_EQ(::mkfifo((directory.path() / "pipe.raw").c_str(), 0600), 0);
    EXPECT_THROW(root.open("pipe.raw"), Refused);
}

TEST_F(ChainOpenTest, FollowsNoLinks) {
    fs::create_symlink("base.raw", directory.path() / "link.raw");
    fs::create_directory_symlink("sub", directory.path() / "linked");
    const ChainRoot root{directory.path()};
    EXPECT_THROW(root.open("link.raw"), Refused);
    EXPECT_THROW(root.open("linked/disk.raw"), Refused);
}

TEST_F(ChainOpenTest, LocatesAnImageThroughTheUsersOwnLinks) {
    fs::create_symlink("sub/disk.raw", directory.path() / "mine.raw");
    const NamedImage image = locate_image(directory.path() / "mine.raw");
    EXPECT_EQ(image.file, "disk.raw");
    EXPECT_EQ(image.format, Format::raw);
    EXPECT_EQ(file_below(ChainRoot{directory.path()}, image), "sub/disk.raw");
    EXPECT_THROW(file_below(ChainRoot{directory.path() / "sub" / "deep"}, image), Refused);
    EXPECT_THROW(locate_image(directory.path() / "none.raw"), NotFound);
    EXPECT_THROW(locate_image(directory.path()), UsageError);
}

TEST_F(ChainOpenTest, OpensARawImageAsAChainOfOne) {
    const ChainRoot root{directory.path()};
    const OpenChain chain = open_chain(root, "base.raw", Format::raw);
    EXPECT_TRUE(chain.complete());
    ASSERT_EQ(chain.layers.size(), 1U);
    EXPECT_EQ(chain.layers.front().image->virtual_size(), 4096_B);
}

} // namespace
} // namespace coppice
