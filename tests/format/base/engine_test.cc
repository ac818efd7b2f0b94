#include "format/base/data_mover.h"
#include "format/base/error.h"
#include "format/base/file_device.h"
#include "format/base/io_queue.h"
#include "tests/support/memory_device.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <random>

namespace coppice {
namespace {

using Random = std::mt19937_64;

std::vector<std::byte> noise(std::size_t size, Random& random) {
    std::vector<std::byte> bytes(size);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random() % 255 + 1);
    return bytes;
}

Bytes up_to(Bytes most, Random& random) {
    return Bytes{random() % (most.count() + 1)};
}

/// Each engine by name, on files.
class EveryEngine : public testing::TestWithParam<Engine> {
protected:
    std::unique_ptr<FileDevice> file(const std::string& name, int mode = O_RDWR | O_CREAT) {
        UniqueFd fd{::open((directory / name).c_str(), mode | O_CLOEXEC, 0600)};
        if (!fd) throw SystemError::from_errno("open", name);
        return std::make_unique<FileDevice>(std::move(fd), name);
    }

    test::TemporaryDirectory directory;
    Random random{11};
};

/// Transfers into a target, next to what they must make of it.
struct Wish {
    std::vector<Transfer> transfers;
    std::vector<std::byte> model;

    void add(const Transfer& transfer, const BlockDevice* source) {
        std::vector<std::byte> bytes(transfer.length.count());
        if (transfer.source == Transfer::Source::memory) bytes.assign(transfer.memory.begin(), transfer.memory.end());
        if (source != nullptr && transfer.device_offset < source->size())
            source->read_padded(transfer.device_offset, bytes);
        const Bytes end = transfer.target_offset + transfer.length;
        if (model.size() < end.count()) model.resize(end.count());
        std::ranges::copy(bytes, model.begin() + static_cast<std::ptrdiff_t>(transfer.target_offset.count()));
        transfers.push_back(transfer);
    }
};

TEST_P(EveryEngine, MovesWhatItIsTold) {
    for (unsigned round = 0; round < 12; ++round) {
        const auto source = file("source" + std::to_string(round));
        for (unsigned stretch = 0; stretch < 6; ++stretch) // with holes, and an odd end
            source->write_at(up_to(6_MiB, random), noise(1 + random() % 300'000, random));
        const auto target = file("target" + std::to_string(round));
        target->write_at(0_B, noise(1 + random() % 3'000'000, random));
        Wish wish;
        wish.model = target->read_at(0_B, target->size());
        std::vector<std::vector<std::byte>> memory;
        memory.reserve(200);
        const std::array<Bytes, 4> longest{600_B, 4_KiB, 100_KiB, 5_MiB};
        Bytes at;
        while (wish.transfers.size() < 200 && at < 24_MiB) {
            if (random() % 3 == 0) at += up_to(longest[random() % 3], random);
            const Bytes length = up_to(longest[random() % longest.size()], random) + 1_B;
            const Bytes from = up_to(source->size(), random); // now and then over its end
            switch (random() % 4) {
            case 0:
                memory.push_back(noise(length.count(), random));
                if (length > 20_KiB) std::fill_n(memory.back().begin() + 5'000, 10'000, std::byte{0});
                wish.add(Transfer::from_memory(memory.back(), at), nullptr);
                break;
            case 1:
                wish.add(Transfer::zeros(at, length), nullptr);
                break;
            default:
                wish.add(Transfer::from_device(*source, from, at, length), source.get());
                break;
            }
            at += length;
            if (at > target->size() && at > Bytes{wish.model.size()} && random() % 2 == 0) {
                wish.transfers.push_back(Transfer::filler(at, 1000_B));
                at += 1000_B;
            }
        }
        std::ranges::shuffle(wish.transfers, random);
        BufferedMover mover{GetParam()};
        mover.move(*target, wish.transfers);
        ASSERT_GE(target->size(), Bytes{wish.model.size()}) << "round " << round;
        const auto got = file("target" + std::to_string(round));
        const auto bytes = got->read_at(0_B, Bytes{wish.model.size()});
        const auto difference = std::ranges::mismatch(bytes, wish.model);
        ASSERT_EQ(difference.in1, bytes.end()) << "round " << round << " at " << (difference.in1 - bytes.begin());
    }
}

TEST_P(EveryEngine, TellsOfASourceThatHasBecomeShorterAndGoesOn) {
    const auto source = file("source");
    source->write_at(0_B, noise(12 << 20, random));
    const auto target = file("target");
    BufferedMover mover{GetParam()};
    ASSERT_EQ(::truncate((directory / "source").c_str(), 5 << 20), 0);
    std::vector<Transfer> transfers; // all of them short enough not to be asked for holes
    for (Bytes at; at < 12_MiB; at += 32_KiB)
        transfers.push_back(Transfer::from_device(*source, 12_MiB - 32_KiB - at, at, 32_KiB));
    try {
        mover.move(*target, transfers);
        FAIL() << "moved what is not there";
    } catch (const SystemError& error) {
        EXPECT_EQ(error.cause(), std::errc::io_error);
        EXPECT_NE(std::string{error.what()}.find("was longer before"), std::string::npos) << error.what();
    }
    const auto whole = Transfer::from_device(*source, 0_B, 0_B, 5_MiB);
    mover.move(*target, {&whole, 1});
    EXPECT_EQ(target->read_at(0_B, 5_MiB), source->read_at(0_B, 5_MiB));
}

TEST_P(EveryEngine, TellsWhyItCannotWrite) {
    const auto source = file("source");
    source->write_at(0_B, noise(12 << 20, random));
    file("target");
    const auto target = file("target", O_RDONLY);
    BufferedMover mover{GetParam()};
    const auto whole = Transfer::from_device(*source, 0_B, 0_B, 12_MiB);
    try {
        mover.move(*target, {&whole, 1});
        FAIL() << "wrote to what is open for reading";
    } catch (const SystemError& error) {
        EXPECT_EQ(error.cause(), std::errc::bad_file_descriptor);
        EXPECT_EQ(std::string{error.what()}.find("write at byte "), 0U) << error.what();
    }
}

TEST_P(EveryEngine, LeavesHolesWhereThereAreZeros) {
    const auto source = file("source");
    auto bytes = noise(1 << 20, random);
    std::fill_n(bytes.begin() + (256 << 10), 256 << 10, std::byte{0});
    source->write_at(0_B, bytes);
    const auto target = file("target");
    target->set_size(2_MiB);
    BufferedMover mover{GetParam()};
    const std::array transfers{Transfer::from_device(*source, 0_B, 0_B, 1_MiB), Transfer::zeros(1_MiB, 64_KiB),
                               Transfer::from_device(*source, 0_B, 1_MiB + 64_KiB, 128_KiB)};
    mover.move(*target, transfers);
    const auto got = file("target");
    EXPECT_EQ(got->next_data(0_B), (ByteRange{0_B, 256_KiB}));
    EXPECT_EQ(got->next_data(256_KiB), (ByteRange{512_KiB, 1_MiB}));
    EXPECT_EQ(got->next_data(1_MiB), (ByteRange{1_MiB + 64_KiB, 1_MiB + 192_KiB}));
}

TEST_P(EveryEngine, StopsBetweenTwoBuffers) {
    const auto source = file("source");
    source->write_at(0_B, noise(1 << 20, random));
    const auto target = file("target");
    std::stop_source stop;
    BufferedMover mover{GetParam(), stop.get_token()};
    const auto whole = Transfer::from_device(*source, 0_B, 1_B, 1_MiB);
    mover.move(*target, {&whole, 1});
    stop.request_stop();
    EXPECT_THROW(mover.move(*target, {&whole, 1}), StopRequested);
}

INSTANTIATE_TEST_SUITE_P(Engines, EveryEngine,
                         testing::Values(Engine::automatic, Engine::share, Engine::uring, Engine::threads,
                                         Engine::plain),
                         [](const auto& which) { return std::string{to_string(which.param)}; });

TEST(EngineNames, AreReadAsTheyAreWritten) {
    for (const Engine engine : {Engine::automatic, Engine::share, Engine::uring, Engine::threads, Engine::plain})
        EXPECT_EQ(engine_from(to_string(engine)), engine);
    EXPECT_EQ(engine_from("automatic"), std::nullopt);
    EXPECT_EQ(engine_names(), "auto|share|uring|threads|plain");
}

/// Counts what is asked of it; may refuse to share.
class CountingDevice final : public BlockDevice {
public:
    CountingDevice(BlockDevice& device, bool can_share) : device_{device}, can_share_{can_share} {}

    const std::string& name() const override { return device_.name(); }
    bool fixed_size() const override { return false; }
    Bytes size() const override { return device_.size(); }
    void read(std::span<const ReadRequest> requests) const override { device_.read(requests); }
    void write(std::span<const WriteRequest> requests) override {
        for (const WriteRequest& request : requests)
            written.push_back(ByteRange::at(request.offset, Bytes{request.buffer.size()}));
        device_.write(requests);
    }
    void flush() override { device_.flush(); }
    void set_size(Bytes size) override { device_.set_size(size); }
    void zero(ByteRange range) override { device_.zero(range); }
    std::optional<ByteRange> next_data(Bytes from) const override { return device_.next_data(from); }
    bool share(const BlockDevice& source, Bytes source_offset, ByteRange target) override {
        shares.push_back(target);
        if (can_share_) device_.write_at(target.begin, source.read_at(source_offset, target.length()));
        return can_share_;
    }
    FileIdentity identity() const override { return device_.identity(); }

    std::vector<ByteRange> written;
    std::vector<ByteRange> shares;

private:
    BlockDevice& device_;
    bool can_share_;
};

class Mover : public testing::Test {
protected:
    Random random{5};
    std::unique_ptr<BlockDevice> source{test::memory_device(noise(3 << 20, random))};
    std::unique_ptr<BlockDevice> memory{test::memory_device({}, "target")};
};

TEST_F(Mover, SharesTheAlignedMiddleAndCopiesTheEnds) {
    CountingDevice target{*memory, true};
    BufferedMover mover{BufferedMover::Sharing::where_possible};
    // The second continues the first: they are shared together.
    const std::array transfers{Transfer::from_device(*source, 1000_B, 4096_B + 1000_B, 600'000_B),
                               Transfer::from_device(*source, 601'000_B, 4096_B + 601'000_B, 600'000_B)};
    mover.move(target, transfers);
    const Bytes end = round_down(1'201'000_B, 4_KiB);
    EXPECT_EQ(target.shares, (std::vector{ByteRange{8_KiB, end + 4_KiB}}));
    EXPECT_EQ(mover.moved().shared, end - 4_KiB);
    EXPECT_EQ(mover.moved().copied, 1'200'000_B - (end - 4_KiB));
    EXPECT_EQ(memory->read_at(4096_B + 1000_B, 1'200'000_B), source->read_at(1000_B, 1'200'000_B));
}

TEST_F(Mover, AsksOnceWhetherTwoDevicesCanShare) {
    CountingDevice target{*memory, false};
    BufferedMover mover{BufferedMover::Sharing::where_possible};
    const std::array transfers{Transfer::from_device(*source, 0_B, 0_B, 1_MiB),
                               Transfer::from_device(*source, 0_B, 1_MiB, 1_MiB)};
    mover.move(target, transfers);
    EXPECT_EQ(target.shares.size(), 1U);
    EXPECT_EQ(mover.moved().copied, 2_MiB);
    EXPECT_EQ(memory->read_at(1_MiB, 1_MiB), source->read_at(0_B, 1_MiB));
}

TEST_F(Mover, DoesNotShareWhatStandsElsewhereInItsBlocks) {
    CountingDevice target{*memory, true};
    BufferedMover mover{BufferedMover::Sharing::where_possible};
    const auto transfer = Transfer::from_device(*source, 512_B, 0_B, 1_MiB);
    mover.move(target, {&transfer, 1});
    EXPECT_TRUE(target.shares.empty());
    EXPECT_EQ(memory->read_at(0_B, 1_MiB), source->read_at(512_B, 1_MiB));
}

TEST_F(Mover, WritesNeighboursAndWhatIsFilledBetweenThemAtOnce) {
    CountingDevice target{*memory, false};
    BufferedMover mover{BufferedMover::Sharing::never};
    std::vector<Transfer> transfers;
    for (Bytes at; at < 1_MiB; at += 8_KiB) { // from here and there into one stretch
        transfers.push_back(Transfer::from_device(*source, 3_MiB - 8_KiB - at, at, 4_KiB));
        transfers.push_back(Transfer::filler(at + 4_KiB, 4_KiB));
    }
    mover.move(target, transfers);
    EXPECT_EQ(target.written, (std::vector{ByteRange{0_B, 1_MiB - 4_KiB}}));
    EXPECT_EQ(memory->read_at(40_KiB, 4_KiB), source->read_at(3_MiB - 48_KiB, 4_KiB));
    EXPECT_TRUE(all_zero(memory->read_at(44_KiB, 4_KiB)));
}

} // namespace
} // namespace coppice
