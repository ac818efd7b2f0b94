// Names of volumes in an LVM SR: what is an image, what its parent's name means, what is an entry of sm's journal.
#include "gc/volumes/volume_names.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

const std::string vdi = "6b2c3d4e-0000-4000-8000-00000000abcd";
const std::string group = "VG_XenStorage-0a1b2c3d-0000-1111-2222-333344445555";
const std::string device = "VG_XenStorage--0a1b2c3d--0000--1111--2222--333344445555-";
const std::string doubled = "6b2c3d4e--0000--4000--8000--00000000abcd";

TEST(VolumeNames, OfImagesLeadThereAndBack) {
    const std::pair<std::string, std::string> pairs[]{{"VHD-" + vdi, vdi + ".vhd"},
                                                      {"QCOW2-" + vdi, vdi + ".qcow2"},
                                                      {"LV-" + vdi, vdi + ".raw"},
                                                      {"VHD-OLD_" + vdi, "OLD_" + vdi + ".vhd"}};
    for (const auto& [volume, file] : pairs) {
        EXPECT_EQ(file_of_volume(volume), file);
        EXPECT_EQ(volume_of_file(file), volume);
    }
}

TEST(VolumeNames, OfAnythingElseAreNoImages) {
    for (const std::string& volume : {std::string{"MGT"}, "VHD-" + vdi + "x", std::string{"VHD-"}, "vhd-" + vdi, vdi,
                                      vdi + ".cbtlog", "XSLOCAL-VHD-" + vdi, "VHD-NEW_" + vdi})
        EXPECT_EQ(file_of_volume(volume), std::nullopt) << volume;
    for (const std::string& file : {vdi, vdi + ".iso", std::string{".vhd"}, "leaf_" + vdi})
        EXPECT_EQ(volume_of_file(file), std::nullopt) << file;
}

TEST(VolumeNames, OfParentsAreUnderstoodInAllForms) {
    const std::string stored[]{"VHD-" + vdi,
                               "./VHD-" + vdi,
                               "/dev/" + group + "/VHD-" + vdi,
                               "/dev/mapper/" + device + "VHD--" + doubled,
                               "./" + device + "VHD--" + doubled,
                               device + "VHD--" + doubled};
    for (const std::string& name : stored)
        EXPECT_EQ(file_of_parent_name(name, group), vdi + ".vhd") << name;
    EXPECT_EQ(file_of_parent_name("/dev/" + group + "/QCOW2-" + vdi, group), vdi + ".qcow2");
    EXPECT_EQ(file_of_parent_name("/dev/" + group + "/LV-" + vdi, group), vdi + ".raw");
}

TEST(VolumeNames, ThatLeadOutOfTheSrAreNoParents) {
    const std::string stored[]{"/dev/VG_XenStorage-other/VHD-" + vdi,
                               "/dev/mapper/other-VHD--" + doubled,
                               "../VHD-" + vdi,
                               "/dev/sda",
                               "nbd:unix:/x",
                               "json:{}",
                               "/dev/" + group + "/../VHD-" + vdi,
                               "/dev/" + group + "/MGT",
                               "",
                               "VHD-" + vdi + "/x"};
    for (const std::string& name : stored)
        EXPECT_EQ(file_of_parent_name(name, group), std::nullopt) << name;
}

TEST(VolumeNames, WrittenIntoAChildAreUnderstoodAgain) {
    for (const std::string& parent : {vdi + ".vhd", vdi + ".qcow2", vdi + ".raw"})
        for (const std::string& child : {vdi + ".vhd", vdi + ".qcow2"})
            EXPECT_EQ(file_of_parent_name(parent_name_of_file(parent, child, group), group), parent);
    EXPECT_EQ(parent_name_of_file(vdi + ".vhd", "x.vhd", group), device + "VHD--" + doubled);
    EXPECT_EQ(parent_name_of_file(vdi + ".qcow2", "x.qcow2", group), "/dev/" + group + "/QCOW2-" + vdi);
}

TEST(JournalVolumes, AreSplitAsSmSplitsThem) {
    const auto coalesce = journal_volume("coalesce_" + vdi + "_1");
    ASSERT_TRUE(coalesce);
    EXPECT_EQ(coalesce->file, "coalesce_" + vdi);
    EXPECT_EQ(coalesce->value, "1");
    EXPECT_FALSE(coalesce->inside);
    EXPECT_TRUE(journal_volume("leaf_" + vdi + "_1")->inside);
    EXPECT_EQ(journal_volume("inflate_" + vdi + "_8388608")->value, "8388608");
    for (const std::string& name : {"leaf_" + vdi, std::string{"leaf__1"}, "VHD-" + vdi, "leaf" + vdi + "_1"})
        EXPECT_FALSE(journal_volume(name)) << name;
}

TEST(JournalVolumes, KeepALongValueInside) {
    EXPECT_EQ(new_journal_volume("coalesce_" + vdi, "1", group).volume, "coalesce_" + vdi + "_1");
    const NewJournalVolume leaf = new_journal_volume("leaf_" + vdi, vdi, group);
    EXPECT_EQ(leaf.volume, "leaf_" + vdi + "_1");
    EXPECT_TRUE(leaf.inside);
    EXPECT_EQ(journal_content(vdi).size(), 512U);
    EXPECT_EQ(value_of_journal_content(journal_content(vdi)), vdi);
    for (const std::string& damaged : {std::string{}, std::string{"36"}, std::string{"36 short"}, std::string{"x 1"}})
        EXPECT_EQ(value_of_journal_content(damaged), std::nullopt) << damaged;
}

} // namespace
} // namespace coppice
