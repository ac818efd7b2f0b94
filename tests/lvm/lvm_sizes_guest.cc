// The sizes that the formulas of thick space give, against those of real LVs; on /dev/vmdisk2 of the VM, which is huge.
#include "lvm/thick_space.h"
#include "tests/lvm/guest_host.h"
#include "tests/support/run_program.h"

#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <sstream>

namespace coppice::lvm::test {
namespace {

using coppice::test::must_run;

struct Sized {
    std::string name;
    Bytes size;     ///< by the formulas
    Bytes at_least; ///< what the image in it takes when it is full
};

/// Of a random disk.
Sized random_volume(std::mt19937_64& random, int number) {
    const Bytes disk = 512_B * (1 + random() % (1 + (16_GiB / 512_B >> random() % 20)));
    Qcow2Geometry geometry;
    geometry.extended_l2 = random() % 4 == 0;
    geometry.cluster_bits = static_cast<unsigned>(geometry.extended_l2 ? 14 + random() % 8 : 12 + random() % 10);
    const std::string name = "lv" + std::to_string(number);
    switch (random() % 6) {
    case 0:
        return {name, sm::raw(disk), disk};
    case 1: {
        const Bytes blocks = round_up(disk, 2_MiB); // as sm makes them
        return {name, sm::full_vhd(blocks), vhd_full_end(blocks, 2_TiB, VhdKind::differencing)};
    }
    case 2:
        return {name, sm::full_qcow2(disk), qcow2_full_end(disk, {})};
    case 3:
        return {name, inflated_qcow2(disk, geometry), qcow2_full_end(disk, geometry)};
    case 4:
        return {name, sm::thin_qcow2(disk, geometry), qcow2_empty_end(disk, geometry)};
    default:
        return {name, deflated(disk), disk};
    }
}

TEST(LvmSizes, AreWhatTheFormulasSayFor500RandomVolumes) {
    constexpr int count = 500;
    std::mt19937_64& random = random_source;
    std::vector<Sized> volumes;
    // One process for all of them: it reads commands from a file. LVM is told bytes, and rounds them as it likes.
    std::ofstream script{"/run/sizes"};
    script << "#!lvm\n"; // without it LVM does not take the file for commands
    for (int number = 0; number < count; ++number) {
        volumes.push_back(random_volume(random, number));
        script << "lvcreate -q -q -an -Wn -Zn -L " << (volumes.back().size - 512_B).count() << "b -n "
               << volumes.back().name << " sizes\n";
    }
    script.close();
    must_run({"pvcreate", "-q", "--metadatasize", "10M", "/dev/vmdisk2"});
    must_run({"vgcreate", "-q", "sizes", "/dev/vmdisk2"});
    must_run({"lvm", "/run/sizes"});
    std::istringstream found{
        must_run({"lvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "lv_name,lv_size", "sizes"})};
    std::map<std::string, std::uint64_t> sizes;
    std::string name;
    for (std::uint64_t size = 0; found >> name >> size;)
        sizes[name] = size;
    must_run({"vgremove", "-ff", "-y", "-q", "-q", "sizes"});
    must_run({"pvremove", "-q", "/dev/vmdisk2"});
    ASSERT_EQ(sizes.size(), volumes.size());
    for (const Sized& volume : volumes) {
        EXPECT_EQ(Bytes{sizes[volume.name]}, volume.size) << volume.name;
        EXPECT_GE(volume.size, volume.at_least) << volume.name;
    }
}

} // namespace
} // namespace coppice::lvm::test
