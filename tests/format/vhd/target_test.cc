// Merge targets against a model of the guest's bytes, and the rules that only some readers need.
#include "tests/format/vhd/vhd_world.h"

#include "format/base/error.h"
#include "format/vhd/check.h"
#include "format/vhd/headers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace coppice::vhd::test {
namespace {

std::string findings(const CheckReport& report) {
    std::string text;
    for (const Finding& finding : report.findings)
        text += finding.code + ": " + finding.text + "\n";
    return text;
}

std::uint64_t fresh_seed() {
    return std::random_device{}();
}

/// Random batches of all sources into one image, the same into a model.
void write_randomly(const Stored& image, std::vector<std::byte>& model, const GuestView& beneath,
                    std::mt19937_64& random, int batches, std::optional<MergeTarget::Becomes> becomes) {
    MemoryLog log;
    std::vector<std::byte> source_bytes(1 << 16);
    for (std::byte& byte : source_bytes)
        byte = static_cast<std::byte>(random());
    const auto source = coppice::test::memory_device(source_bytes);
    const auto opened = image.open();
    const auto target = opened->merge_target(log);
    BufferedMover mover{BufferedMover::Sharing::never, 8_KiB};
    target->prepare();
    const std::uint64_t sectors = model.size() / 512;
    for (int i = 0; i < batches; ++i) {
        std::vector<GuestWrite> batch;
        std::vector<std::vector<std::byte>> memory;
        for (std::uint64_t at = random() % 64; at < sectors;) {
            const std::uint64_t end = std::min(sectors, at + 1 + random() % 20);
            GuestWrite write{{sector_size * at, sector_size * end}, GuestWrite::Source::zeros, nullptr, 0_B, {}};
            const auto place = std::span{model}.subspan(at * 512, (end - at) * 512);
            std::vector<std::byte> bytes(place.size());
            if (const auto kind = random() % 3; kind != 0) {
                const std::size_t from = random() % 100 * 512;
                const std::size_t inside = std::min(bytes.size(), source_bytes.size() - from);
                std::copy_n(source_bytes.begin() + static_cast<std::ptrdiff_t>(from), inside, bytes.begin());
                write.source = kind == 1 ? GuestWrite::Source::device : GuestWrite::Source::memory;
                write.device = source.get();
                write.device_offset = Bytes{from};
                memory.push_back(bytes);
                write.memory = memory.back();
            }
            std::ranges::copy(bytes, place.begin());
            batch.push_back(write);
            at = end + random() % 40;
        }
        target->write(batch, {beneath, beneath}, mover);
    }
    if (becomes) target->finish(*becomes);
}

TEST(VhdTarget, AgreesWithAModel) {
    const auto seed = fresh_seed();
    SCOPED_TRACE(seed);
    std::mt19937_64 random{seed};
    for (int round = 0; round < 60; ++round) {
        SCOPED_TRACE(round);
        const Bytes block_size = 512_B * (1ULL << random() % 7);
        const Bytes size = sector_size * (20 + random() % 400);
        const Bytes volume = random() % 3 == 0 ? 4_MiB : 0_B;
        NewDisk root{size};
        root.block_size = block_size;
        const Stored base = make({"base.vhd", root, random() % 4 == 0, volume});
        std::vector<std::byte> model(size.count());
        write_randomly(base, model, EmptyView{}, random, 3, MergeTarget::Becomes::root);
        ASSERT_EQ(guest_bytes({base}), model);
        const auto opened = base.open();
        NewDisk upper{size};
        upper.block_size = block_size;
        upper.parent = NewParent{"base.vhd", Format::vhd, opened->vhd_uuid(), 0};
        const Stored leaf = make({"leaf.vhd", upper, false, volume});
        write_randomly(leaf, model, ChainView{{opened.get()}}, random, 3, MergeTarget::Becomes::child);
        ASSERT_EQ(guest_bytes({leaf, base}), model);
        for (const Stored& stored : {base, leaf}) {
            const CheckReport report = check(*stored.device());
            ASSERT_EQ(report.verdict, Verdict::ok) << findings(report);
        }
    }
}

TEST(VhdTarget, LeavesNothingUnderClearBitsOfARoot) {
    const auto seed = fresh_seed();
    SCOPED_TRACE(seed);
    std::mt19937_64 random{seed};
    for (const Bytes volume : {0_B, 1_MiB}) {
        NewDisk root{200_KiB};
        root.block_size = 16_KiB;
        const Stored base = make({"base.vhd", root, false, volume});
        std::vector<std::byte> model(root.virtual_size.count());
        // Before finish() scrubs: new blocks are clean from the start, also over what a volume held before.
        write_randomly(base, model, EmptyView{}, random, 4, std::nullopt);
        EXPECT_EQ(bytes_without_bitmaps(base), model);
        write_randomly(base, model, EmptyView{}, random, 4, MergeTarget::Becomes::root);
        EXPECT_EQ(bytes_without_bitmaps(base), model);
    }
}

TEST(VhdTarget, ZerosOverNothingCostNothing) {
    const Stored base = make({"base.vhd", NewDisk{8_MiB}});
    const auto before = base.file->bytes;
    LoneTarget target{base};
    target.zero({0_B, 8_MiB});
    target.finish();
    EXPECT_EQ(base.file->bytes, before);
}

TEST(VhdTarget, KeepsTheBatmapOfFullBlocks) {
    const Stored base = make({"base.vhd", NewDisk{8_MiB}});
    LoneTarget target{base};
    const std::vector<std::byte> bytes(3 << 20, std::byte{7});
    target.write({0_B, 3_MiB}, bytes);
    target.finish();
    const auto device = base.device();
    const Headers headers = read_headers(*device);
    const ReadBatmap batmap = read_batmap(*device, headers.footer, *headers.layout);
    ASSERT_TRUE(batmap.batmap);
    EXPECT_TRUE(batmap.batmap->full(0));
    EXPECT_FALSE(batmap.batmap->full(1));
    // As blktap places them: data on pages, one stride apart.
    const Bat bat = Bat::read(*device, *headers.layout);
    EXPECT_EQ(bat[0], 7U);
    EXPECT_EQ(bat[1], 4111U);
}

TEST(VhdTarget, AFullVolumeIsRefusedBeforeAnythingChanges) {
    NewDisk root{64_KiB};
    root.block_size = 4_KiB;
    const Stored base = make({"base.vhd", root, false, 32_KiB});
    LoneTarget target{base};
    const auto before = base.file->bytes;
    const std::vector<std::byte> bytes(64 << 10, std::byte{7});
    const auto write = [&](Bytes length) { target.write({0_B, length}, std::span{bytes}.first(length.count())); };
    EXPECT_THROW(write(64_KiB), NoSpace);
    EXPECT_EQ(base.file->bytes, before);
    write(8_KiB);
    EXPECT_EQ(check(*base.device()).verdict, Verdict::ok);
}

TEST(VhdTarget, RefusesImagesThatItWouldHarm) {
    const Stored base = make({"base.vhd", NewDisk{8_MiB}});
    MemoryLog log;
    const auto refused = [&](auto damage) {
        const Stored copy = base.copy();
        damage(copy.file->bytes);
        EXPECT_THROW(copy.open()->merge_target(log), Error);
    };
    refused([](std::vector<std::byte>& bytes) {
        bytes[1536 + 3] = std::byte{1};
        bytes[1536] = bytes[1537] = bytes[1538] = std::byte{0};
    });
    refused([](std::vector<std::byte>& bytes) { bytes[2048] = std::byte{0}; }); // cookie of the batmap
    refused([](std::vector<std::byte>& bytes) { bytes[2560] = std::byte{1}; }); // sum of the batmap
}

TEST(VhdGrowth, StopsAtTheProductsLimit) {
    const Stored base = make({"base.vhd", NewDisk{8_MiB}});
    LoneTarget target{base};
    try {
        target.grow(2040_GiB + 2_MiB);
        FAIL();
    } catch (const Refused& refused) {
        EXPECT_EQ(refused.code(), "virtual-size");
    }
}

TEST(VhdGrowth, ReachesTheProductsLimit) {
    const Stored base = make({"base.vhd", NewDisk{8_MiB}});
    std::vector<std::byte> model(8 << 20);
    std::mt19937_64 random{5};
    write_randomly(base, model, EmptyView{}, random, 1, MergeTarget::Becomes::root);
    {
        LoneTarget target{base};
        target.grow(2040_GiB);
        target.write({2040_GiB - 4_KiB, 2040_GiB}, std::span{model}.first(4096));
        target.finish();
    }
    const auto image = base.open();
    EXPECT_EQ(image->virtual_size(), 2040_GiB);
    const ChainView view{{image.get()}};
    std::vector<std::byte> bytes(model.size());
    view.read(0_B, bytes);
    EXPECT_EQ(bytes, model);
    bytes.resize(4096);
    view.read(2040_GiB - 4_KiB, bytes);
    EXPECT_TRUE(std::ranges::equal(bytes, std::span{model}.first(4096)));
    const CheckReport report = check(*base.device());
    EXPECT_EQ(report.verdict, Verdict::ok) << findings(report);
}

TEST(VhdGrowth, TheFormerFooterOfAFixedDiskDoesNotShow) {
    const Stored base = make({"base.vhd", NewDisk{64_KiB}, true});
    for (const Bytes size : {Bytes{512 * 129}, 96_KiB, 1_MiB}) {
        LoneTarget target{base};
        target.grow(size);
        target.finish();
        EXPECT_EQ(guest_bytes({base}), std::vector<std::byte>(size.count()));
        EXPECT_EQ(base.file->bytes.size(), (size + 512_B).count());
        EXPECT_EQ(check(*base.device()).verdict, Verdict::ok);
    }
}

TEST(VhdGrowth, WithinReservedMetadataMovesNothing) {
    NewDisk root{8_MiB};
    root.reserved_size = 20_GiB;
    const Stored base = make({"base.vhd", root});
    const auto device = base.device();
    const auto before = device->read_at(512_B, 1_KiB);
    LoneTarget target{base};
    target.grow(16_GiB);
    target.finish();
    EXPECT_EQ(device->read_at(512_B, 1_KiB), before);
    EXPECT_EQ(base.open()->virtual_size(), 16_GiB);
    EXPECT_EQ(check(*device).verdict, Verdict::ok);
}

TEST(VhdGrowth, BitsBehindTheFormerEndDoNotShow) {
    // As another creator leaves it: the last block is full, the disk ends inside it.
    NewDisk root{4_MiB};
    const Stored base = make({"base.vhd", root});
    std::vector<std::byte> model(4 << 20);
    std::mt19937_64 random{6};
    write_randomly(base, model, EmptyView{}, random, 2, MergeTarget::Becomes::root);
    const auto device = base.device();
    const Footer shrunk = read_headers(*device).footer.with_size(Bytes{512 * 5000});
    device->write_at(0_B, shrunk.pack());
    device->write_at(device->size() - 512_B, shrunk.pack());
    LoneTarget target{base};
    target.grow(6_MiB);
    target.finish();
    model.resize(512 * 5000);
    model.resize(6 << 20);
    EXPECT_EQ(guest_bytes({base}), model);
    EXPECT_EQ(bytes_without_bitmaps(base), model);
}

} // namespace
} // namespace coppice::vhd::test
