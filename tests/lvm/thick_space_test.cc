#include "format/base/error.h"
#include "format/qcow2/create.h"
#include "format/vhd/create.h"
#include "format/vhd/image.h"
#include "lvm/thick_space.h"
#include "tests/support/memory_device.h"

#include <gtest/gtest.h>

#include <random>

namespace coppice::lvm {
namespace {

struct Row {
    Bytes size;
    std::uint64_t empty_vhd;
    std::uint64_t bitmap_vhd;
    std::uint64_t full_vhd;
    std::uint64_t empty_qcow2;
    std::uint64_t full_qcow2;
};

// What the storage manager of package 3.2.12-21.x computes.
const Row rows[] = {
    {2_MiB, 4'096, 4'096, 8'388'608, 327'680, 4'194'304},
    {10_MiB, 4'096, 20'480, 16'777'216, 327'680, 12'582'912},
    {512_MiB, 8'192, 1'048'576, 545'259'520, 327'680, 541'065'216},
    {1_GiB, 8'192, 2'097'152, 1'082'130'432, 393'216, 1'077'936'128},
    {10_GiB, 24'576, 20'971'520, 10'766'778'368, 1'900'544, 10'741'612'544},
    {100_GiB, 217'088, 209'715'200, 107'592'286'208, 16'646'144, 107'390'959'616},
    {512_GiB, 1'085'440, 1'073'741'824, 550'837'944'320, 84'148'224, 549'843'894'272},
    {1_TiB, 2'166'784, 2'147'483'648, 1'101'667'500'032, 168'034'304, 1'099'683'594'240},
    {2040_GiB, 4'313'088, 4'278'190'080, 2'194'719'899'648, 334'495'744, 2'190'768'865'280},
};
const Row larger_rows[] = {
    {2_TiB, 0, 0, 0, 335'806'464, 2'199'362'994'176},
    {5_TiB, 0, 0, 0, 839'188'480, 5'498'401'193'984},
    {10_TiB, 0, 0, 0, 1'678'114'816, 10'996'798'193'664},
    {16381_GiB, 0, 0, 0, 2'684'354'560, 17'591'649'173'504},
    {largest_qcow2_by_sm, 0, 0, 0, 2'684'420'096, 17'592'186'044'416},
};

TEST(SmSizes, AreThoseOfTheStorageManager) {
    for (const Row& row : rows) {
        SCOPED_TRACE(row.size.count());
        EXPECT_EQ(sm::empty_vhd(row.size), Bytes{row.empty_vhd});
        EXPECT_EQ(sm::bitmap_vhd(row.size), Bytes{row.bitmap_vhd});
        EXPECT_EQ(sm::full_vhd(row.size), Bytes{row.full_vhd});
        EXPECT_EQ(sm::thin_vhd(row.size), 8_MiB);
        EXPECT_EQ(sm::empty_qcow2(row.size), Bytes{row.empty_qcow2});
        EXPECT_EQ(sm::full_qcow2(row.size), Bytes{row.full_qcow2});
    }
    for (const Row& row : larger_rows) {
        SCOPED_TRACE(row.size.count());
        EXPECT_EQ(sm::empty_qcow2(row.size), Bytes{row.empty_qcow2});
        EXPECT_EQ(sm::full_qcow2(row.size), Bytes{row.full_qcow2});
    }
    EXPECT_EQ(sm::empty_vhd(2_TiB), 4'329'472_B);
}

TEST(SmSizes, RoundUpToExtents) {
    EXPECT_EQ(sm::raw(0_B), 4_MiB);
    EXPECT_EQ(sm::raw(4_MiB), 4_MiB);
    EXPECT_EQ(sm::raw(4_MiB + 1_B), 8_MiB);
    EXPECT_EQ(sm::thin_qcow2(1_TiB), 164_MiB);
    EXPECT_EQ(sm::full(VolumeFormat::raw, 5_MiB), 8_MiB);
    EXPECT_EQ(sm::full(VolumeFormat::vhd, 10_MiB), 16_MiB);
    EXPECT_EQ(sm::thin(VolumeFormat::vhd, 10_MiB), 8_MiB);
    EXPECT_EQ(sm::full(VolumeFormat::qcow2, 10_MiB), 12_MiB);
    EXPECT_EQ(sm::thin(VolumeFormat::qcow2, 10_MiB), 4_MiB);
    EXPECT_EQ(extents_for(8_MiB), Extents{2});
    EXPECT_EQ(extents_for(8_MiB + 1_B), Extents{3});
    EXPECT_EQ(extents_for(8_MiB, 32_MiB), Extents{1});
    EXPECT_EQ(deflated(8_MiB + 512_B), 12_MiB);
}

TEST(SmSizes, RefuseWhatTheFormatsCannotHold) {
    EXPECT_THROW(sm::full_vhd(2040_GiB + 1_B), Refused);
    EXPECT_THROW(sm::thin_vhd(2041_GiB), Refused);
    EXPECT_THROW(vhd_full_end(2041_GiB, 0_B, VhdKind::dynamic), Refused);
    // An L1 table has 32 MiB at most.
    EXPECT_NO_THROW(sm::full_qcow2(2048_TiB));
    EXPECT_THROW(sm::full_qcow2(2048_TiB + 1_B), Refused);
    EXPECT_NO_THROW(qcow2_full_end(128_GiB, {9}));
    EXPECT_THROW(qcow2_full_end(128_GiB + 512_B, {9}), Refused);
    EXPECT_THROW(sm::raw(Bytes{~0ULL}), std::overflow_error);
    EXPECT_THROW(sm::full_qcow2(Bytes{~0ULL}, {21}), std::overflow_error);
    EXPECT_THROW(sm::empty_qcow2(1_GiB, {22}), std::logic_error);
    EXPECT_THROW(sm::empty_qcow2(1_GiB, {13, true}), std::logic_error);
}

// Mirror snapshots of a storage migration: what they need and what sm gives them.
TEST(TrueSizes, OfSmallClustersWithSubclustersExceedTheLvOfSm) {
    const Qcow2Geometry mirror{14, true};
    EXPECT_EQ(qcow2_full_end(1_TiB, mirror) - 1_TiB, 1'208'745'984_B);
    EXPECT_EQ(sm::full_qcow2(1_TiB) - 1_TiB, 171'966'464_B);
    EXPECT_EQ(qcow2_full_end(16381_GiB, mirror) - 16381_GiB, 19'335'659'520_B);
    EXPECT_EQ(inflated_qcow2(1_TiB, mirror), lv_size(qcow2_full_end(1_TiB, mirror)));
    EXPECT_EQ(inflated_qcow2(1_TiB, {}), sm::full_qcow2(1_TiB));
}

TEST(TrueSizes, OfFullImagesAreWhatSmReservesForThem) {
    std::mt19937_64 random{4711};
    for (int round = 0; round < 500; ++round) {
        const Bytes size = 512_B * (1 + random() % (8ULL << 31));
        EXPECT_EQ(qcow2_full_end(size, {}), round_up(size, 64_KiB) + sm::empty_qcow2(size)) << size.count();
        const Bytes vhd = 2_MiB * (1 + size.count() % 1'044'480);
        // sm counts a page for each bitmap, and the footer of the last block lies in the gap that none follows.
        EXPECT_EQ(vhd_full_end(vhd, 2_TiB, VhdKind::differencing) + 3584_B,
                  vhd + sm::empty_vhd(2_TiB) + sm::bitmap_vhd(vhd))
            << vhd.count();
    }
}

TEST(TrueSizes, OfEmptyImagesAreThoseThatAreMade) {
    std::mt19937_64 random{4712};
    for (int round = 0; round < 200; ++round) {
        qcow2::CreateOptions options;
        options.extended_l2 = random() % 3 == 0;
        options.cluster_bits = static_cast<unsigned>(options.extended_l2 ? 14 + random() % 8 : 9 + random() % 13);
        options.refcount_order = static_cast<unsigned>(random() % 7);
        options.size = 512_B * (random() % (1ULL << (10 + random() % 18)));
        const auto device = test::memory_device();
        qcow2::create(*device, options);
        EXPECT_EQ(qcow2_empty_end(options.size, {options.cluster_bits, options.extended_l2, options.refcount_order}),
                  device->size())
            << options.size.count() << " in clusters of 2^" << options.cluster_bits;
    }
}

Bytes made_vhd(Bytes size, Bytes reserved, VhdKind kind) {
    const auto device = test::memory_device();
    vhd::NewDisk disk;
    disk.virtual_size = size;
    disk.reserved_size = reserved;
    if (kind == VhdKind::differencing) disk.parent = NewParent{"base.vhd", Format::vhd, Uuid::random()};
    vhd::create(*device, disk);
    return device->size();
}

TEST(TrueSizes, OfEmptyVhdsAreThoseThatAreMade) {
    // As blktap makes them.
    EXPECT_EQ(vhd_end(10_MiB, VhdKind::dynamic, 0), 3584_B);
    EXPECT_EQ(vhd_end(4_MiB, VhdKind::differencing, 0), 5120_B);
    EXPECT_EQ(vhd_end(2040_GiB, VhdKind::dynamic, 0), 4'311'040_B);
    std::mt19937_64 random{4713};
    for (int round = 0; round < 60; ++round) {
        const Bytes size = 2_MiB * (1 + random() % (1ULL << (1 + random() % 19)));
        const Bytes reserved = random() % 2 == 0 ? 0_B : 2040_GiB;
        const VhdKind kind = random() % 2 == 0 ? VhdKind::dynamic : VhdKind::differencing;
        EXPECT_EQ(vhd_end(std::max(size, reserved), kind, 0), made_vhd(size, reserved, kind)) << size.count();
    }
}

} // namespace
} // namespace coppice::lvm
