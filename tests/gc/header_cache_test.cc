#include "gc/scan/header_cache.h"

#include "gc/scan/scan.h"
#include "tests/gc/counting_storage.h"
#include "tests/support/sr_builder.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace coppice::test {
namespace {

using namespace std::chrono_literals;

FileState state_at(std::int64_t changed_ns, std::uint64_t size = 1) {
    return {{1, 2, size, changed_ns}, changed_ns, 0_B};
}

ScannedImage image_in(const FileState& state) {
    ScannedImage image;
    image.node.identity = state.identity;
    image.header_read = true;
    return image;
}

HeaderCache::Moment moment(std::chrono::seconds wall, std::chrono::seconds steady = 0s) {
    HeaderCache::Moment result;
    result.wall = std::chrono::system_clock::time_point{wall};
    result.steady = std::chrono::steady_clock::time_point{steady};
    return result;
}

TEST(HeaderCache, TrustsOnlyWhatWasReadLongAfterTheLastChange) {
    HeaderCache cache{HeaderCache::Stamps::here};
    const FileState state = state_at(100'000'000'000);
    cache.remember("a", state, image_in(state), moment(101s));
    EXPECT_FALSE(cache.find("a", state)) << "it may have changed again within the tick";
    cache.remember("a", state, image_in(state), moment(102s));
    EXPECT_TRUE(cache.find("a", state));
    EXPECT_FALSE(cache.find("a", state_at(100'000'000'001)));
    EXPECT_FALSE(cache.find("a", state_at(100'000'000'000, 2)));
}

TEST(HeaderCache, DoesNotCompareWithTheClockOfAServer) {
    HeaderCache cache{HeaderCache::Stamps::elsewhere};
    const FileState state = state_at(0);
    cache.remember("a", state, image_in(state), moment(1000s, 10s));
    EXPECT_FALSE(cache.find("a", state));
    cache.remember("a", state, image_in(state), moment(1000s, 11s));
    EXPECT_FALSE(cache.find("a", state));
    cache.remember("a", state, image_in(state), moment(1000s, 12s));
    EXPECT_TRUE(cache.find("a", state)) << "first seen two seconds before";
}

TEST(HeaderCache, KeepsNothingOfWhatCouldNotBeRead) {
    HeaderCache cache{HeaderCache::Stamps::here};
    const FileState state = state_at(0);
    ScannedImage image = image_in(state);
    image.node.state = NodeState::damaged;
    cache.remember("a", state, image, moment(1000s));
    EXPECT_FALSE(cache.find("a", state));
}

/// 2,000 images: a look reads the headers of those that changed, and no other.
TEST(HeaderCache, ALookAtALargeSrReadsWhatHasChanged) {
    MemoryStorage made;
    build(made, small_image(Format::qcow2, "image", {}, false, {}, 64_KiB));
    const auto bytes = made.bytes(made.names().front());
    const TemporaryDirectory directory;
    const auto file = [&](int number) {
        char uuid[64];
        std::snprintf(uuid, sizeof uuid, "c0ffee00-0000-4000-8000-%012d", number);
        return std::string{uuid} + ".qcow2";
    };
    for (int number = 0; number < 2000; ++number) {
        const std::string path = directory / file(number);
        std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()),
                                                    static_cast<std::streamsize>(bytes.size()));
    }
    CountingStorage storage{directory.path().string()};
    HeaderCache cache{HeaderCache::Stamps::here, [] {
                          HeaderCache::Moment later = HeaderCache::real_time();
                          later.wall += 10s;
                          return later;
                      }};
    ScanOptions options;
    options.headers = &cache;
    scan_sr(storage, options);
    EXPECT_EQ(storage.opened().size(), 2000U);
    std::filesystem::resize_file(directory / file(7), 0);
    const SrTree tree = scan_sr(storage, options);
    EXPECT_EQ(tree.nodes.size(), 2000U);
    EXPECT_EQ(tree.find(*node_of_file(file(7)))->state, NodeState::damaged);
    EXPECT_LE(storage.opened().size(), 2000U + 2) << "read, and searched for what is left of it";
}

} // namespace
} // namespace coppice::test
