// What a disk's volume must have for its guest to write everywhere, against the formulas of lvm/thick_space.h.
#include "coalesce/inflated_size.h"

#include "format/qcow2/create.h"
#include "format/vhd/create.h"
#include "lvm/thick_space.h"
#include "tests/support/memory_device.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

using test::MemoryDevice;
using test::MemoryFile;

Bytes of(Format format, const std::shared_ptr<MemoryFile>& file, Bytes size) {
    const auto image = open_image(std::make_unique<MemoryDevice>(file, "disk"), format);
    return lvm::lv_size(inflated_size(format, *image->target_space(), size));
}

TEST(InflatedSize, OfQcow2GoesByItsOwnClusters) {
    for (const lvm::Qcow2Geometry geometry : {lvm::Qcow2Geometry{}, lvm::Qcow2Geometry{21}, lvm::Qcow2Geometry{9},
                                              lvm::Qcow2Geometry{14, true}, lvm::Qcow2Geometry{16, false, 6}}) {
        for (const Bytes size : {1_MiB, 16'056'320_B, 100_MiB, 3_GiB}) {
            SCOPED_TRACE(std::to_string(size.count()) + " bytes, cluster bits " +
                         std::to_string(geometry.cluster_bits));
            const auto file = std::make_shared<MemoryFile>();
            MemoryDevice device{file, "disk"};
            qcow2::CreateOptions options;
            options.size = size;
            options.cluster_bits = geometry.cluster_bits;
            options.refcount_order = geometry.refcount_order;
            options.extended_l2 = geometry.extended_l2;
            qcow2::create(device, options);
            EXPECT_EQ(of(Format::qcow2, file, size), lvm::inflated_qcow2(size, geometry));
        }
    }
}

TEST(InflatedSize, OfTheDiskWhoseParentHadLargeClustersIsAboveSmsRule) {
    EXPECT_GT(lvm::inflated_qcow2(16'056'320_B, {21}), lvm::sm::full_qcow2(16'056'320_B));
}

TEST(InflatedSize, HolesAreFilledAndLeaksAreNot) {
    const Bytes cluster = 128_KiB;
    const Bytes size = 27 * cluster;
    const auto file = std::make_shared<MemoryFile>();
    MemoryDevice device{file, "disk"};
    qcow2::CreateOptions options;
    options.size = size;
    options.cluster_bits = 17;
    qcow2::create(device, options);
    const auto end_when_full = [&] {
        return open_image(std::make_unique<MemoryDevice>(file, "disk"), Format::qcow2)
            ->target_space()
            ->end_when_full(size);
    };
    const Bytes whole = lvm::qcow2_full_end(size, {17});
    ASSERT_EQ(end_when_full(), whole);
    // The cluster behind the last one stays a hole, the next one is counted and nobody's.
    const Bytes leaked = device.size() + cluster;
    const Bytes block = 2 * cluster; // behind the header and the table of such blocks
    const std::byte once[] = {std::byte{0}, std::byte{1}};
    device.write_at(block + Bytes{leaked / cluster * 2}, once);
    device.set_size(leaked + cluster);
    EXPECT_EQ(end_when_full(), whole + cluster);
}

TEST(InflatedSize, OfVhdIsSmsRule) {
    for (const Bytes size : {2_MiB, 100_MiB, 2040_GiB}) {
        const auto file = std::make_shared<MemoryFile>();
        MemoryDevice device{file, "disk"};
        vhd::create(device, {.virtual_size = size, .reserved_size = lvm::largest_vhd});
        EXPECT_EQ(of(Format::vhd, file, size), lvm::sm::full_vhd(size));
    }
}

} // namespace
} // namespace coppice
