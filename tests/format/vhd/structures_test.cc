// Footers, headers, locators and bit maps one by one.
#include "format/base/error.h"
#include "format/vhd/batmap.h"
#include "format/vhd/checksum.h"
#include "format/vhd/footer.h"
#include "format/vhd/header.h"
#include "format/vhd/layout.h"
#include "format/vhd/parent_locator.h"
#include "format/vhd/sector_bitmap.h"

#include <gtest/gtest.h>

#include <random>

namespace coppice::vhd {
namespace {

Footer some_footer() {
    return Footer::fresh(DiskType::dynamic, 10_MiB, Uuid::random(), 1'700'000'000);
}

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(VhdFooter, SurvivesPackingAndUnpacking) {
    const Footer footer = some_footer();
    const auto unpacked = unpack_footer(footer.pack());
    ASSERT_TRUE(unpacked.footer);
    EXPECT_EQ(*unpacked.footer, footer);
    EXPECT_EQ(unpacked.footer->current_size(), 10_MiB);
    EXPECT_TRUE(unpacked.footer->made_by_tap());
    EXPECT_FALSE(unpacked.footer->hidden());
}

TEST(VhdFooter, RejectsEveryChangedByte) {
    const auto bytes = some_footer().pack();
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto changed = bytes;
        changed[i] ^= std::byte{1};
        EXPECT_FALSE(unpack_footer(changed).footer) << i;
    }
}

TEST(VhdFooter, TakesTheShortForm) {
    const auto bytes = some_footer().pack();
    EXPECT_TRUE(unpack_footer(std::span{bytes}.first(511)).footer);
    EXPECT_FALSE(unpack_footer(std::span{bytes}.first(510)).footer);
}

TEST(VhdFooter, OldTapMayHideWithoutMendingTheChecksum) {
    for (const std::uint32_t version : {0x00000001U, 0x00010001U, 0x00010003U}) {
        disk::Footer raw = some_footer().raw();
        raw.creator_version = version;
        auto bytes = Footer{raw}.pack();
        bytes[offsetof(disk::Footer, hidden)] = std::byte{1};
        EXPECT_EQ(unpack_footer(bytes).footer.has_value(), version != 0x00010003U);
    }
}

TEST(VhdFooter, KeepsReservedBytes) {
    disk::Footer raw = some_footer().raw();
    raw.reserved[100] = std::byte{42};
    const Footer changed = Footer{raw}.with_hidden(true).with_size(20_MiB);
    EXPECT_EQ(changed.raw().reserved[100], std::byte{42});
    EXPECT_TRUE(unpack_footer(changed.pack()).footer);
}

TEST(VhdFooter, GeometryFollowsThePublishedRule) {
    // As qemu-img and vhd-util write them.
    EXPECT_EQ(geometry_of(10_MiB), 301U << 16 | 4 << 8 | 17);
    EXPECT_EQ(geometry_of(2040_GiB), 65535U << 16 | 16 << 8 | 255);
    for (const Bytes size : {512_B, 7_MiB, 500_MiB, 504_MiB, 1_GiB, 8_GiB, 127_GiB, 137_GiB, 2040_GiB}) {
        const std::uint32_t geometry = geometry_of(size);
        const std::uint64_t sectors = std::uint64_t{geometry >> 16} * (geometry >> 8 & 0xFF) * (geometry & 0xFF);
        EXPECT_LE(sectors, whole_sectors(size).count());
    }
}

TEST(VhdHeader, RejectsEveryChangedByte) {
    const auto bytes = DynamicHeader::fresh(1536_B, 5, 2_MiB).pack();
    EXPECT_TRUE(unpack_header(bytes).header);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto changed = bytes;
        changed[i] ^= std::byte{1};
        EXPECT_FALSE(unpack_header(changed).header) << i;
    }
}

TEST(VhdHeader, RejectsSenselessFields) {
    const auto code_with = [](auto change) {
        DynamicHeader header = DynamicHeader::fresh(1536_B, 5, 2_MiB);
        change(header.editable());
        return unpack_header(header.pack()).code;
    };
    EXPECT_EQ(code_with([](disk::DynamicHeader& raw) { raw.block_size = 3 << 20; }), "block-size");
    EXPECT_EQ(code_with([](disk::DynamicHeader& raw) { raw.block_size = 256; }), "block-size");
    EXPECT_EQ(code_with([](disk::DynamicHeader& raw) { raw.block_size = 0; }), "block-size");
    EXPECT_EQ(code_with([](disk::DynamicHeader& raw) { raw.version = 0x00020000; }), "header-version");
    EXPECT_EQ(code_with([](disk::DynamicHeader& raw) { raw.locators[7].platform_code = 0x41424344; }), "locator-code");
    EXPECT_EQ(code_with([](disk::DynamicHeader& raw) {
                  raw.locators[0].platform_code = platform::macx;
                  raw.locators[0].data_space = 700;
              }),
              "locator-space");
}

TEST(VhdLayout, RefusesTablesThatCannotBe) {
    const Footer footer = some_footer();
    const auto code = [&](Bytes offset, std::uint32_t entries, Bytes size) {
        return lay_out(footer, DynamicHeader::fresh(offset, entries, 2_MiB), size).code;
    };
    EXPECT_EQ(code(1536_B, 5, 4_KiB), "");
    EXPECT_EQ(code(1536_B, 4, 4_KiB), "bat-smaller-than-disk");
    EXPECT_EQ(code(Bytes{~std::uint64_t{0}}, 5, 4_KiB), "bat-past-end");
    EXPECT_EQ(code(4_KiB, 5, 4_KiB), "bat-past-end");
    const auto huge =
        lay_out(footer.with_size(Bytes{~std::uint64_t{0}}), DynamicHeader::fresh(1536_B, 0xFFFFFFFF, 2_GiB), 4_KiB);
    EXPECT_FALSE(huge.layout);
    EXPECT_TRUE(huge.unsupported || huge.code == "bat-smaller-than-disk");
}

TEST(VhdLayout, PutsDataOnPages) {
    EXPECT_EQ(next_block_place(3584_B, 512_B), 3584_B);
    EXPECT_EQ(next_block_place(5120_B, 512_B), Bytes{15 * 512});
    EXPECT_EQ(next_block_place(Bytes{(7 + 4097) * 512}, 512_B), Bytes{4111 * 512});
    EXPECT_EQ(bitmap_size_for(2_MiB), 512_B);
    EXPECT_EQ(bitmap_size_for(512_B), 512_B);
    EXPECT_EQ(bitmap_size_for(16_MiB), 4_KiB);
}

TEST(VhdParentLocator, WritesWhatBlktapWrites) {
    EXPECT_EQ(text_of(encode_locator(platform::macx, locator_path("base.vhd"))), "file://./base.vhd");
    const auto windows = encode_locator(platform::w2ku, locator_path("base.vhd"));
    std::string narrow;
    for (std::size_t i = 0; i < windows.size(); i += 2) {
        narrow += static_cast<char>(windows[i]);
        EXPECT_EQ(windows[i + 1], std::byte{0});
    }
    EXPECT_EQ(narrow, ".\\base.vhd");
    EXPECT_EQ(decode_locator(platform::w2ru, encode_locator(platform::w2ru, "../../store/base.vhd")),
              "./../../store/base.vhd");
}

TEST(VhdParentLocator, DecodesAllForms) {
    const auto macx = [](std::string_view text) {
        return decode_locator(platform::macx, std::as_bytes(std::span{text}));
    };
    EXPECT_EQ(macx("file://./a.vhd"), "./a.vhd");
    EXPECT_EQ(macx("file:///x/a.vhd"), "/x/a.vhd");
    EXPECT_EQ(macx("./a.vhd"), std::nullopt);
    EXPECT_EQ(macx("file://"), std::nullopt);
    EXPECT_EQ(macx("file://\xff"), std::nullopt);
    EXPECT_EQ(decode_locator(platform::w2ku, encode_locator(platform::w2ku, "/C:/x")), "/C:/x");
    EXPECT_EQ(decode_locator(platform::w2ru, encode_locator(platform::w2ru, "./ä€𝄞.vhd")), "./ä€𝄞.vhd");
    const std::string_view drive{"C\0:\0\\\0a\0", 8};
    EXPECT_EQ(decode_locator(platform::w2ku, std::as_bytes(std::span{drive})), "/a");
    EXPECT_EQ(decode_locator(platform::w2ku, std::as_bytes(std::span{drive}).first(7)), std::nullopt);
    const std::string_view lone{"\x00\xd8x\0", 4};
    EXPECT_EQ(decode_locator(platform::w2ku, std::as_bytes(std::span{lone})), std::nullopt);
}

TEST(VhdParentLocator, ParentNameFitsOrIsRefused) {
    EXPECT_EQ(decode_parent_name(encode_parent_name("base.vhd")), "base.vhd");
    EXPECT_EQ(decode_parent_name(encode_parent_name(std::string(256, 'x'))), std::string(256, 'x'));
    EXPECT_THROW(encode_parent_name(std::string(257, 'x')), Unsupported);
    EXPECT_THROW(encode_parent_name("\xc0\x80"), Unsupported);
}

TEST(VhdSectorBitmap, FindsRunsLikeASlowReader) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random{seed};
    for (int round = 0; round < 2000; ++round) {
        std::vector<std::byte> bits(1 + random() % 8);
        for (std::byte& byte : bits)
            byte = random() % 3 == 0 ? std::byte{0xFF} : static_cast<std::byte>(random() % 2 * random());
        const std::uint64_t begin = random() % (bits.size() * 8);
        const std::uint64_t end = begin + random() % (bits.size() * 8 - begin + 1);
        std::vector<bool> seen(bits.size() * 8);
        std::uint64_t last = 0;
        for_each_run(bits, begin, end, true, [&](std::uint64_t from, std::uint64_t to) {
            ASSERT_LT(from, to);
            ASSERT_LE(to, end);
            ASSERT_TRUE(last == 0 || from > last);
            last = to;
            for (; from < to; ++from)
                seen[from] = true;
        });
        for (std::uint64_t i = begin; i < end; ++i)
            ASSERT_EQ(seen[i], test_bit(bits, i)) << i;
        auto set = bits;
        set_bits(set, begin, end);
        for (std::uint64_t i = 0; i < bits.size() * 8; ++i)
            ASSERT_EQ(test_bit(set, i), test_bit(bits, i) || (begin <= i && i < end));
    }
}

TEST(VhdBatmap, SumsTheRangeThatBlktapSums) {
    EXPECT_EQ(batmap_range(1_GiB), 512_B);
    EXPECT_EQ(batmap_range(8_GiB), 512_B);
    EXPECT_EQ(batmap_range(8_GiB + 14_MiB), 512_B);
    EXPECT_EQ(batmap_range(8_GiB + 16_MiB), 1_KiB);
    EXPECT_EQ(batmap_range(2040_GiB), 255_B * 512);
}

TEST(VhdBatmap, LeavesBlocksBehindTheRangeAlone) {
    Batmap batmap = Batmap::fresh(2_KiB, 2, 8_GiB + 2_MiB);
    EXPECT_EQ(batmap.checksum(), 0xFFFFFFFF);
    batmap.set_full(4096, true);
    EXPECT_FALSE(batmap.full(4096));
    EXPECT_EQ(batmap.checksum(), 0xFFFFFFFF);
    batmap.set_full(0, true);
    EXPECT_TRUE(batmap.full(0));
    EXPECT_EQ(batmap.checksum(), ~0x80U);
}

TEST(VhdBatmap, OldVersionSumsSignedBytes) {
    disk::BatmapHeader raw = Batmap::fresh(2_KiB, 1, 1_GiB).raw();
    raw.version = 0x00010001;
    Batmap batmap{raw, 2_KiB, std::vector<std::byte>(512)};
    batmap.set_full(0, true);
    EXPECT_EQ(batmap.checksum(), ~static_cast<std::uint32_t>(-128));
}

} // namespace
} // namespace coppice::vhd
