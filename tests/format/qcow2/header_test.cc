#include "format/qcow2/header.h"

#include "format/base/error.h"
#include "format/qcow2/check.h"
#include "format/qcow2/create.h"
#include "format/qcow2/image.h"
#include "tests/support/memory_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace coppice::test {
namespace {

std::unique_ptr<MemoryDevice> created(const qcow2::CreateOptions& options) {
    auto device = memory_device();
    qcow2::create(*device, options);
    return device;
}

TEST(Qcow2Create, MakesSoundImagesOfEveryKind) {
    for (const unsigned version : {2U, 3U})
        for (unsigned bits = 9; bits <= 21; ++bits)
            for (const unsigned order : {0U, 3U, 4U, 6U}) {
                qcow2::CreateOptions options;
                options.version = version;
                options.cluster_bits = bits;
                options.refcount_order = order;
                options.size = 64_MiB + 512_B;
                options.extended_l2 = version == 3 && bits >= 14 && order == 3;
                options.zstd = version == 3 && order == 6;
                options.backing_name = "parent.qcow2";
                options.backing_format = Format::qcow2;
                options.hidden = true;
                SCOPED_TRACE(std::to_string(version) + " " + std::to_string(bits) + " " + std::to_string(order));
                if (version == 2 && order != 4) {
                    EXPECT_THROW(created(options), Unsupported);
                    continue;
                }
                const auto device = created(options);
                const auto header = qcow2::read_header(*device);
                EXPECT_EQ(header.size, options.size);
                EXPECT_EQ(header.extended_l2(), options.extended_l2);
                EXPECT_EQ(header.backing_file, "parent.qcow2");
                EXPECT_EQ(header.backing_format(), "qcow2");
                EXPECT_TRUE(header.hidden());
                const auto report = qcow2::check(*device);
                EXPECT_EQ(to_string(report.verdict), "ok");
                EXPECT_TRUE(report.mergeable);
            }
}

TEST(Qcow2Create, WritesOverWhateverStandsOnABlockDevice) {
    auto file = std::make_shared<MemoryFile>();
    file->bytes.assign((8_MiB).count(), std::byte{0xA5});
    auto device = std::make_unique<MemoryDevice>(file, "volume", nullptr, true);
    qcow2::CreateOptions options;
    options.size = 1_GiB;
    qcow2::create(*device, options);
    EXPECT_EQ(to_string(qcow2::check(*device).verdict), "ok");
    const auto image = qcow2::open(std::move(device));
    EXPECT_FALSE(image->next_mapped(0_B));
    // Four clusters: header, refcount table, one block, L1.
    EXPECT_EQ(image->physical_size(), 256_KiB);
}

TEST(Qcow2Header, SurvivesEveryChangedByte) {
    qcow2::CreateOptions options;
    options.size = 1_GiB;
    options.backing_name = "parent.qcow2";
    options.backing_format = Format::qcow2;
    options.hidden = false;
    const auto device = created(options);
    const auto bytes = device->read_at(0_B, 64_KiB);
    for (std::size_t at = 0; at < 256; ++at)
        for (const unsigned value : {0x00U, 0x01U, 0x7FU, 0x80U, 0xFFU}) {
            auto changed = bytes;
            changed[at] = std::byte{static_cast<unsigned char>(value)};
            try {
                const auto header = qcow2::parse_header(changed, "image", device->size());
                EXPECT_GE(header.l1_size, header.l1_entries_needed());
            } catch (const Error&) {
            }
        }
}

TEST(Qcow2Header, ReadsALateNameInALargeCluster) {
    qcow2::CreateOptions options;
    options.size = 1_GiB;
    options.cluster_bits = 21;
    options.backing_name = "parent.qcow2";
    options.backing_format = Format::qcow2;
    const auto device = created(options);
    // Far behind what is read at first.
    qcow2::disk::be64 place;
    place = (1_MiB).count();
    device->write_at(8_B, std::as_bytes(std::span{&place, 1}));
    const std::string_view name = "moved.qcow2!";
    device->write_at(1_MiB, std::as_bytes(std::span{name}));
    EXPECT_EQ(qcow2::read_header(*device).backing_file, name);
}

TEST(Qcow2Header, RefusesExtensionsThatDisagree) {
    qcow2::CreateOptions options;
    options.size = 1_MiB;
    options.hidden = true;
    const auto device = created(options);
    auto bytes = device->read_at(0_B, 64_KiB);
    std::copy_n(bytes.begin() + 112, 16, bytes.begin() + 128);
    EXPECT_TRUE(qcow2::parse_header(bytes, "image", device->size()).hidden());
    bytes[136] = std::byte{0};
    EXPECT_THROW(qcow2::parse_header(bytes, "image", device->size()), CorruptImage);
}

} // namespace
} // namespace coppice::test
