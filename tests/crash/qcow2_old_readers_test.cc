// Programs that have opened a QCOW2 target before or in the middle of a merge read what they read then, wherever
// nothing was written: also with tables that they remember, and that the image no longer refers to. INV-1
#include "format/base/error.h"
#include "format/qcow2/image.h"
#include "format/qcow2/target.h"
#include "tests/format/qcow2/target_world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

namespace coppice::test {
namespace {

/// Has the target open, and remembers some of its tables.
struct OldReader {
    std::string since;
    std::unique_ptr<Image> image;
    std::vector<const Image*> layers;

    OldReader(const TargetWorld& world, std::string moment, bool all_tables)
        : since{std::move(moment)}, image{qcow2::open(world.device())}, layers{image.get()} {
        if (world.base) layers.push_back(world.base.get());
        if (all_tables)
            guest_bytes(layers);
        else
            static_cast<void>(image->map({0_B, sector_size})); // reads the table of tables
    }
};

class OldReaders {
public:
    OldReaders(const TargetWorld& world, Bytes size)
        : world_{world}, first_{world.guest()}, written_(size / sector_size) {}

    void add(const std::string& moment) {
        for (const bool all_tables : {true, false})
            readers_.emplace_back(world_, moment, all_tables);
    }
    void mark(const std::vector<ModelWrite>& batch) {
        for (const ModelWrite& write : batch)
            for (std::uint64_t at = write.guest.begin / sector_size; at < write.guest.end / sector_size; ++at)
                written_[at] = true;
    }
    /// What was written is masked by the image that it comes from.
    void check(const std::string& moment) const {
        for (const OldReader& reader : readers_)
            for (std::size_t first = 0; first < written_.size();) {
                std::size_t end = first;
                while (end < written_.size() && !written_[end])
                    ++end;
                SCOPED_TRACE(moment + ", opened " + reader.since);
                ASSERT_NO_FATAL_FAILURE(check_stretch(reader, first, end));
                first = end + 1;
            }
    }

private:
    /// From sector `first` to `end`. What it remembers of other places may be wrong by now.
    void check_stretch(const OldReader& reader, std::size_t first, std::size_t end) const {
        std::vector<std::byte> now((end - first) * 512);
        try {
            ChainView{reader.layers}.read(Bytes{first * 512}, now);
        } catch (const Error& error) {
            FAIL() << error.what();
        }
        const auto place = std::ranges::mismatch(now, std::span{first_}.subspan(first * 512, now.size())).in1;
        ASSERT_EQ(place, now.end()) << "guest byte " << first * 512 + static_cast<std::size_t>(place - now.begin());
    }

    const TargetWorld& world_;
    std::vector<std::byte> first_;
    std::vector<bool> written_;
    std::vector<OldReader> readers_;
};

/// Little, in a few places: most of what is touched is masked in part only.
std::vector<ModelWrite> small_batch(Bytes size, std::mt19937_64& random) {
    std::vector<ModelWrite> batch;
    Bytes at = sector_size * (random() % (size / sector_size));
    for (unsigned count = 0; count < 3 && at < size; ++count) {
        const Bytes end = std::min(size, at + sector_size * (1 + random() % 4));
        batch.push_back({{at, end}, random() % 5 == 0 ? GuestWrite::Source::zeros : GuestWrite::Source::device});
        at = end + sector_size * (random() % 200);
    }
    return batch;
}

void merge_beside_readers(std::uint64_t seed) {
    std::mt19937_64 random{seed};
    Geometry geometry = random_geometry(random);
    if (random() % 2 == 0) { // compressed clusters are what moves
        geometry.compressed = true;
        geometry.cluster_bits = 14;
        geometry.refcount_bits = 16;
    }
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + geometry.text());
    const Bytes size = 256_KiB;
    const TargetWorld world{geometry, size, size, random};
    // Where there is little room everything that is free is used at once. Else: our reader takes what it finds behind
    // the end that the file had at its opening for damage; QEMU's does not look.
    const bool little_room = random() % 2 == 0;
    const Bytes room = little_room ? Bytes{std::uint64_t{1} << geometry.cluster_bits} * (2 + random() % 12) : 8_MiB;
    world.file->bytes.resize(world.file->bytes.size() / 512 * 512 + room.count());
    world.file->flush();
    OldReaders readers{world, size};
    readers.add("at first");
    MemoryDevice device{world.file, "target", nullptr, little_room};
    BufferedMover mover{BufferedMover::Sharing::never, 64_KiB};
    MemoryEditLog log;
    const Beneath beneath{*world.beneath, *world.beneath};
    const auto target = qcow2::merge_target(device, log);
    target->prepare();
    ASSERT_NO_FATAL_FAILURE(readers.check("prepared"));
    bool full = false;
    for (unsigned count = 0; count < 40 && !full; ++count) {
        const std::string moment = "batch " + std::to_string(count);
        if (count % 16 == 0) readers.add("before " + moment);
        const auto batch = count % 16 == 15 ? world.random_batch(size, random) : small_batch(size, random);
        readers.mark(batch);
        try {
            target->write(world.writes(batch), beneath, mover);
        } catch (const NoSpace&) {
            full = true;
        }
        if (count % 4 == 3 || full) {
            ASSERT_NO_FATAL_FAILURE(readers.check(moment));
        }
    }
    if (!full) target->finish(MergeTarget::Becomes::child);
    ASSERT_NO_FATAL_FAILURE(readers.check("finished"));
}

TEST(Qcow2OldReaders, ReadTheSameWhereNothingIsWritten) {
    const char* const wanted = std::getenv("COPPICE_OLD_READERS");
    const std::uint64_t count = wanted == nullptr ? 150 : std::strtoull(wanted, nullptr, 10);
    for (std::uint64_t seed = 1; seed <= count && !HasFatalFailure(); ++seed)
        merge_beside_readers(seed);
}

} // namespace
} // namespace coppice::test
