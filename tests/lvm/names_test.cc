#include "format/base/error.h"
#include "lvm/names.h"

#include <gtest/gtest.h>

namespace coppice::lvm {
namespace {

TEST(LvmNames, AreThoseThatLvmTakes) {
    for (const char* const good :
         {"VHD-0a1b", "QCOW2-OLD_x", "MGT", "x.cbtlog", "inflate_0_8+1", "VG_XenStorage-1", "..."})
        EXPECT_TRUE(is_valid_name(good)) << good;
    for (const char* const bad :
         {"", "-f", ".", "..", "a b", "a/b", "a;b", "snapshot1", "pvmove0", "x_mlog", "x_tdata_y", "\xc3\xa4"})
        EXPECT_FALSE(is_valid_name(bad)) << bad;
    EXPECT_THROW(require_lv_name("VG", "--config"), Unsupported);
}

TEST(LvmNames, HaveToFitIntoTheNameOfTheDevice) {
    const std::string group = "VG_XenStorage-0a1b2c3d-0000-1111-2222-333344445555"; // 55 with doubled hyphens
    EXPECT_NO_THROW(require_lv_name(group, std::string(71, 'a')));
    EXPECT_THROW(require_lv_name(group, std::string(72, 'a')), Unsupported);
    EXPECT_NO_THROW(require_lv_name(group, std::string(35, '-').insert(0, "a")));
    EXPECT_THROW(require_lv_name(group, std::string(36, '-').insert(0, "a")), Unsupported);
}

TEST(LvmNames, OfDevicesDoubleTheHyphens) {
    EXPECT_EQ(mapper_name("VG-1", "VHD-a-b"), "VG--1-VHD--a--b");
    EXPECT_EQ(mapper_uuid("ab-cd", "ef-gh"), "LVM-abcdefgh");
}

TEST(LvmTags, AreThoseThatLvmTakes) {
    for (const char* const good : {"hidden", "-a", "vdi_uuid=x", "a/b:c#d&e!f"})
        EXPECT_TRUE(is_valid_tag(good)) << good;
    EXPECT_TRUE(is_valid_tag(std::string(1024, 'a')));
    for (const std::string& bad :
         {std::string{}, std::string{"a,b"}, std::string{"@a"}, std::string{"a b"}, std::string(1025, 'a')})
        EXPECT_FALSE(is_valid_tag(bad)) << bad;
}

} // namespace
} // namespace coppice::lvm
