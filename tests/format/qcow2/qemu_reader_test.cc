// Random images made by qemu-io are read as qemu-img reads them, and checked with its verdict.

#include "format/qcow2/check.h"
#include "format/qcow2/create.h"
#include "tests/format/qcow2/stored_cases.h"
#include "tests/support/run_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

namespace coppice::test {
namespace {

namespace fs = std::filesystem;

struct Layer {
    std::string options;
    std::uint64_t cluster;
    bool zeros; ///< can write zeros
    bool compressed;
};

Layer random_layer(std::mt19937_64& random) {
    Layer layer;
    const unsigned bits = 9 + static_cast<unsigned>(random() % 10);
    layer.cluster = 1ULL << bits;
    layer.options = "cluster_size=" + std::to_string(layer.cluster);
    const bool old = random() % 5 == 0;
    const bool extended = !old && bits >= 14 && random() % 2 == 0;
    if (old) layer.options += ",compat=0.10";
    if (extended) layer.options += ",extended_l2=on";
    if (!old && random() % 3 == 0) layer.options += ",compression_type=zstd";
    if (!old && random() % 3 == 0) layer.options += ",refcount_bits=" + std::to_string(8U << (random() % 4));
    if (!old && random() % 4 == 0) layer.options += ",lazy_refcounts=on";
    layer.zeros = !old;
    layer.compressed = random() % 2 == 0;
    return layer;
}

/// A command of qemu-io.
std::string random_write(const Layer& layer, std::uint64_t size, std::mt19937_64& random) {
    const std::uint64_t sectors = size / 512;
    const auto range = [](std::uint64_t offset, std::uint64_t length) {
        return std::to_string(offset) + " " + std::to_string(length);
    };
    std::uint64_t offset = random() % sectors * 512;
    std::uint64_t length = std::min(size - offset, (1 + random() % 200) * 512);
    const std::uint64_t kind = random() % 6;
    if (kind == 0 && layer.compressed && size >= layer.cluster) {
        offset = random() % (size / layer.cluster) * layer.cluster;
        return "write -c -P " + std::to_string(1 + random() % 250) + " " + range(offset, layer.cluster);
    }
    if (kind == 1 && layer.zeros) return "write -z " + range(offset, length);
    if (kind == 2 && layer.zeros) return "write -zu " + range(offset, length);
    if (kind == 3) return "discard " + range(offset, length);
    return "write -P " + std::to_string(1 + random() % 250) + " " + range(offset, length);
}

class RandomQemuChain : public testing::TestWithParam<unsigned> {};

TEST_P(RandomQemuChain, IsReadAndCheckedAsByQemu) {
    std::mt19937_64 random{GetParam()};
    const TemporaryDirectory directory;
    const std::size_t depth = 1 + random() % 4;
    std::uint64_t size = (1 + random() % 6000) * 512;
    for (std::size_t level = 0; level < depth; ++level) {
        const Layer layer = random_layer(random);
        const std::string file = std::to_string(level) + ".qcow2";
        if (random() % 3 == 0)
            size = std::max<std::uint64_t>(512, size + random() % 2000 * 512 - 1000 * (random() % 2) * 512);
        size = std::clamp<std::uint64_t>(size, 512, 8 << 20);
        Command create{"qemu-img", "create", "-q", "-f", "qcow2", "-o", layer.options};
        if (level > 0) create.insert(create.end(), {"-b", std::to_string(level - 1) + ".qcow2", "-F", "qcow2"});
        create.insert(create.end(), {file, std::to_string(size)});
        must_run(create, directory.path());
        Command writes{"qemu-io", "-f", "qcow2", file};
        for (std::size_t count = random() % 24; count > 0; --count)
            writes.insert(writes.end(), {"-c", random_write(layer, size, random)});
        // Some fail: a compressed write does where something stands already.
        if (writes.size() > 4) run_program(writes, directory.path());
        const std::string raw = std::to_string(level) + ".img";
        must_run({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", file, raw}, directory.path());
    }
    for (std::size_t level = 0; level < depth; ++level) {
        SCOPED_TRACE(level);
        const std::string file = std::to_string(level) + ".qcow2";
        const OpenChain chain{directory.path(), file};
        const auto raw = open_device(directory.path() / (std::to_string(level) + ".img"));
        ASSERT_EQ(raw->size(), chain.top().virtual_size());
        EXPECT_EQ(guest_bytes(chain, {0_B, raw->size()}), raw->read_at(0_B, raw->size()));
        const int status = run_program({"qemu-img", "check", "-q", "-f", "qcow2", file}, directory.path()).status;
        const auto verdict = qcow2::check(chain.top().device()).verdict;
        EXPECT_EQ(to_string(verdict), status == 0 ? "ok" : status == 3 ? "leaks" : "corrupt");
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomQemuChain, testing::Range(1U, 13U));

TEST(Qcow2Create, MakesImagesThatQemuAccepts) {
    const TemporaryDirectory directory;
    for (const unsigned version : {2U, 3U})
        for (const unsigned bits : {9U, 14U, 16U, 21U})
            for (const bool parent : {false, true}) {
                qcow2::CreateOptions options;
                options.version = version;
                options.cluster_bits = bits;
                options.size = 3_GiB + 512_B;
                options.extended_l2 = version == 3 && bits >= 14;
                options.zstd = version == 3;
                options.refcount_order = version == 3 && bits == 9 ? 6 : 4;
                options.hidden = true;
                if (parent) {
                    must_run({"qemu-img", "create", "-q", "-f", "qcow2", "parent.qcow2", "1G"}, directory.path());
                    options.backing_name = "parent.qcow2";
                    options.backing_format = Format::qcow2;
                }
                std::ofstream{directory.path() / "new.qcow2"};
                {
                    const auto device = open_device(directory.path() / "new.qcow2", true);
                    qcow2::create(*device, options);
                }
                must_run({"qemu-img", "check", "-q", "-f", "qcow2", "new.qcow2"}, directory.path());
                must_run({"qemu-io", "-f", "qcow2", "-c", "write -P 7 2G 1M", "new.qcow2"}, directory.path());
                must_run({"qemu-img", "check", "-q", "-f", "qcow2", "new.qcow2"}, directory.path());
                const OpenChain chain{directory.path(), "new.qcow2"};
                EXPECT_TRUE(chain.top().hidden());
                EXPECT_EQ(guest_bytes(chain, ByteRange::at(2_GiB, 1_B)).front(), std::byte{7});
            }
}

} // namespace
} // namespace coppice::test
