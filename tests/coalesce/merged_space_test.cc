// The size that a merge is said to lead to, against real merges of random chains in memory.
#include "coalesce/merged_space.h"

#include "coalesce/merge_pass.h"
#include "format/base/error.h"
#include "format/chain.h"
#include "format/merge_target.h"
#include "format/qcow2/create.h"
#include "format/vhd/create.h"
#include "tests/support/memory_device.h"

#include <gtest/gtest.h>

#include <random>
#include <sstream>

namespace coppice {
namespace {

using test::MemoryDevice;
using test::MemoryFile;

class NoLog final : public EditLog {
public:
    void begin(const std::string&, const HeaderEdit&) override {}
    void end() override {}
};

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_{seed} {}
    std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
    bool one_in(std::uint64_t count) { return below(count) == 0; }

private:
    std::mt19937_64 engine_;
};

struct Layer {
    Format format = Format::qcow2;
    Bytes size;
    std::string text;
    std::shared_ptr<MemoryFile> file = std::make_shared<MemoryFile>();

    std::unique_ptr<Image> open(bool volume = false) const {
        return open_image(std::make_unique<MemoryDevice>(file, text, nullptr, volume), format);
    }
};

struct OpenChain {
    explicit OpenChain(std::span<const Layer> newest_first) {
        for (const Layer& layer : newest_first)
            images.push_back(layer.open());
    }
    std::vector<const Image*> views() const {
        std::vector<const Image*> result;
        for (const auto& image : images)
            result.push_back(image.get());
        return result;
    }
    std::vector<std::unique_ptr<Image>> images;
};

/// What writes of guests may contain.
enum class Content { data, data_and_zeros };

struct Kind {
    Bytes largest = 12_MiB;
    std::optional<Format> format;
    Content content = Content::data_and_zeros;
    unsigned least_cluster_bits = 9;
    unsigned most_writes = 12;
};

Layer make_layer(const Kind& kind, Bytes size, Random& random) {
    Layer layer;
    layer.size = size;
    std::ostringstream text;
    MemoryDevice device{layer.file, "new"};
    layer.format = kind.format.value_or(random.one_in(2) ? Format::vhd : Format::qcow2);
    if (layer.format == Format::vhd) {
        vhd::NewDisk disk;
        disk.virtual_size = size;
        disk.block_size = Bytes{1ULL << (kind.largest > 1_GiB ? 21 : 13 + random.below(9))};
        if (random.one_in(2)) disk.parent = NewParent{"p.vhd", Format::vhd, Uuid::random()};
        if (random.one_in(2)) disk.reserved_size = size + 512_KiB * random.below(64);
        vhd::create(device, disk);
        text << "vhd, blocks of " << disk.block_size.count();
    } else {
        qcow2::CreateOptions options;
        options.size = size;
        options.version = random.one_in(5) ? 2 : 3;
        options.extended_l2 = options.version == 3 && random.one_in(3);
        const unsigned least = std::max(options.extended_l2 ? 14U : 9U, kind.least_cluster_bits);
        options.cluster_bits = least + static_cast<unsigned>(random.below(std::max(18U - least, 1U)));
        if (options.version == 3) options.refcount_order = static_cast<unsigned>(random.below(7));
        qcow2::create(device, options);
        text << "qcow2 v" << options.version << ", clusters of 2^" << options.cluster_bits
             << (options.extended_l2 ? " extended" : "") << ", counts of 2^" << options.refcount_order;
    }
    text << ", " << size.count() << " bytes";
    layer.text = text.str();
    return layer;
}

/// As a guest does who reads through `below`.
void scribble(const Layer& layer, std::span<const Layer> below, const Kind& kind, Random& random) {
    const OpenChain under{below};
    const ChainView beneath{under.views()};
    const auto image = layer.open();
    NoLog log;
    BufferedMover mover{BufferedMover::Sharing::never};
    const auto target = image->merge_target(log);
    target->prepare();
    const std::uint64_t sectors = layer.size / 512_B;
    for (std::uint64_t count = random.below(kind.most_writes); count > 0; --count) {
        const std::uint64_t grain = random.one_in(3) ? 1 : 128; // an odd place, or one on 64 KiB
        const std::uint64_t begin = random.below(sectors) / grain * grain;
        const std::uint64_t longest = random.one_in(4) ? 6000 : 300;
        const std::uint64_t end = std::min(sectors, begin + (1 + random.below(longest) / grain) * grain);
        const std::vector<std::byte> bytes(512 * (end - begin),
                                           std::byte{static_cast<unsigned char>(1 + random.below(255))});
        GuestWrite write{{512_B * begin, 512_B * end}, GuestWrite::Source::memory, nullptr, 0_B, bytes};
        if (kind.content == Content::data_and_zeros && random.one_in(3)) write.source = GuestWrite::Source::zeros;
        target->write({&write, 1}, {beneath, beneath}, mover);
    }
    target->finish(below.empty() ? MergeTarget::Becomes::root : MergeTarget::Becomes::child);
}

/// Layers of a chain, newest first, with the target among them.
struct Chain {
    std::vector<Layer> layers;
    std::size_t target = 0;
    std::size_t end = 0; ///< behind the last one that takes part
    bool up = false;

    std::span<const Layer> all() const { return layers; }
    std::span<const Layer> sources() const {
        return up ? all().subspan(target + 1, end - target - 1) : all().first(target);
    }
    std::span<const Layer> below() const { return all().subspan(end); }
    const Layer& into() const { return layers[target]; }
    std::string text() const {
        std::string result = up ? "up" : "down";
        for (const Layer& layer : layers)
            result += "\n  " + layer.text + (&layer == &layers[target] ? " <- target" : "");
        return result;
    }
};

Chain make_chain(const Kind& sources, const Kind& target, Random& random) {
    Chain chain;
    chain.up = random.one_in(2);
    const std::size_t count = 1 + random.below(3);
    const std::size_t below = random.below(3);
    chain.target = chain.up ? 0 : count;
    chain.end = count + 1;
    Bytes size = 512_B * (64 + random.below(target.largest / 512_B - 64));
    if (random.one_in(2)) size = round_up(size, 64_KiB);
    std::vector<Layer> oldest_first;
    for (std::size_t at = count + 1 + below; at-- > 0;) {
        const Kind& kind = at == chain.target ? target : sources;
        Layer layer = make_layer(kind, size, random);
        const std::vector<Layer> under{oldest_first.rbegin(), oldest_first.rend()};
        scribble(layer, under, kind, random);
        oldest_first.push_back(std::move(layer));
        // Disks grow, and sometimes a newer layer is shorter; but nothing is poured into a larger target.
        if (random.one_in(3)) size += 512_B * random.below(target.largest / 2048_B);
        if (random.one_in(8) && at > chain.target && size > 128_KiB) size = 512_B * (size / 1024_B);
    }
    chain.layers.assign(oldest_first.rbegin(), oldest_first.rend());
    return chain;
}

MergeInput input_of(const Chain& chain) {
    std::vector<GuestMap> maps;
    for (const Layer& layer : chain.layers)
        maps.push_back(layer_facts(*layer.open(), {}).map);
    std::vector<MappedLayer> mapped;
    for (std::size_t at = 0; at < maps.size(); ++at)
        mapped.push_back({maps[at], chain.layers[at].size});
    const std::span all{mapped};
    if (chain.up)
        return pulled_up(chain.into().size, all.subspan(chain.target + 1, chain.end - chain.target - 1),
                         all.subspan(chain.end));
    return poured_down(all.first(chain.target), all.subspan(chain.end));
}

/// The real merge, into the file or the volume that `image` has open.
void merge(const Chain& chain, Image& image) {
    const OpenChain sources{chain.sources()};
    const OpenChain below{chain.below()};
    const OpenChain before{{&chain.into(), 1}};
    std::vector<const Image*> now = below.views();
    if (chain.up) {
        now = sources.views();
        for (const auto& layer : below.images)
            now.push_back(layer.get());
    }
    const ChainView view_now{now};
    const ChainView view_after{below.views()};
    const Beneath beneath{view_now, chain.up ? view_after : view_now};
    MergePass pass{sources.views(), *before.images.front(), beneath, chain.into().size,
                   chain.up ? MergePass::Rank::older : MergePass::Rank::newer};
    if (!chain.up) pass.end = chain.layers.front().size;
    NoLog log;
    BufferedMover mover{BufferedMover::Sharing::never};
    const auto target = image.merge_target(log);
    target->prepare();
    target->grow(pass.end, beneath, mover);
    run_merge_pass(pass, *target, mover, 0_B, {}, [](Bytes, Bytes) {});
    target->finish(chain.below().empty() ? MergeTarget::Becomes::root : MergeTarget::Becomes::child);
}

/// The target in a volume of exactly this size.
std::shared_ptr<MemoryFile> in_volume(const Layer& layer, Bytes size) {
    auto volume = std::make_shared<MemoryFile>(*layer.file);
    volume->bytes.resize(size.count());
    if (layer.format == Format::vhd)
        std::copy(layer.file->bytes.end() - 512, layer.file->bytes.end(), volume->bytes.end() - 512);
    volume->flush();
    return volume;
}

struct Outcome {
    Bytes computed;
    Bytes real;
    bool torn; ///< a disk of the chain ends inside a unit under which something lies: one cluster too many may be
               ///< counted
};

bool is_torn(const MergeInput& merge) {
    RangeList units;
    for (const Bytes seam : merge.seams)
        if (!is_aligned(seam, 256_KiB)) add_range(units, ByteRange::at(round_down(seam, 256_KiB), 256_KiB));
    return !intersected(units, merge.beneath).empty();
}

Outcome try_merge(Chain chain) {
    const auto space = chain.into().open()->target_space();
    EXPECT_EQ(space->end(), chain.into().open()->physical_size());
    const Bytes computed = space->end_after(input_of(chain));
    EXPECT_GE(computed, space->end());

    // It fits into a volume that is no larger; and there the image tells its end by itself.
    Layer volume = chain.into();
    volume.file = in_volume(chain.into(), computed);
    const auto in_place = volume.open(true);
    EXPECT_NO_THROW(merge(chain, *in_place));
    EXPECT_LE(volume.open(true)->physical_size(), computed);

    // What is known only of data below the target, and not of the rest, is no more.
    MergeInput coarse = input_of(chain);
    coarse.beneath = coarse.beneath_now = {{0_B, coarse.virtual_size}};
    EXPECT_GE(space->end_after(coarse), computed);

    Layer file = chain.into();
    file.file = std::make_shared<MemoryFile>(*chain.into().file);
    merge(chain, *file.open());
    const Bytes real = file.open()->physical_size();
    EXPECT_EQ(Bytes{file.file->bytes.size()}, real);
    return {computed, real, is_torn(input_of(chain))};
}

enum class Expected { equal, bound };

/// Returns how many were equal.
int try_many(const Kind& sources, const Kind& target, std::uint64_t first_seed, int rounds, Expected expected) {
    int equal = 0;
    for (std::uint64_t seed = first_seed; seed < first_seed + static_cast<std::uint64_t>(rounds); ++seed) {
        Random random{seed};
        const Chain chain = make_chain(sources, target, random);
        SCOPED_TRACE("seed " + std::to_string(seed) + ", " + chain.text());
        const Outcome outcome = try_merge(chain);
        EXPECT_GE(outcome.computed, outcome.real);
        const bool exact = expected == Expected::equal && (target.format == Format::vhd || !outcome.torn);
        if (exact) {
            EXPECT_EQ(outcome.computed, outcome.real);
        }
        equal += outcome.computed == outcome.real ? 1 : 0;
        if (testing::Test::HasFailure()) break;
    }
    return equal;
}

TEST(MergedSpace, OfVhdsIsExact) {
    try_many({}, {.format = Format::vhd}, 1000, 60, Expected::equal);
}

TEST(MergedSpace, OfQcow2IsExactForData) {
    const Kind data{.content = Content::data};
    // Smaller clusters would make the refcount table move.
    const int equal = try_many(data, {.format = Format::qcow2, .content = Content::data, .least_cluster_bits = 12},
                               2000, 80, Expected::equal);
    EXPECT_GE(equal, 76);
}

TEST(MergedSpace, OfQcow2BoundsWhatZerosDo) {
    const int equal = try_many({}, {.format = Format::qcow2}, 3000, 80, Expected::bound);
    EXPECT_GE(equal, 40) << "a bound that is hardly ever reached says little";
}

/// A parent that is larger than the target, which grows over it: what the parent holds there has to be hidden.
TEST(MergedSpace, OfATargetThatGrowsOverItsParentCountsWhatHidesIt) {
    for (const Format format : {Format::vhd, Format::qcow2}) {
        Random random{1};
        const Kind empty{.format = format, .least_cluster_bits = 17, .most_writes = 1};
        const Kind full{.format = format, .content = Content::data, .least_cluster_bits = 17, .most_writes = 200};
        Chain chain;
        chain.target = 1;
        chain.end = 2;
        for (const Bytes size : {8_MiB, 2_MiB + 512_B, 8_MiB})
            chain.layers.push_back(make_layer(empty, size, random));
        scribble(chain.layers[2], {}, full, random);
        SCOPED_TRACE(chain.text());
        const Bytes before = chain.into().open()->physical_size();
        const Outcome outcome = try_merge(chain);
        EXPECT_EQ(outcome.computed, outcome.real);
        EXPECT_GT(outcome.real, before);
    }
}

TEST(MergedSpace, OfLargeDisksCountsTheTablesThatAreTouched) {
    const Kind sparse{.largest = 600_GiB, .content = Content::data, .least_cluster_bits = 16, .most_writes = 20};
    Kind target = sparse;
    target.format = Format::qcow2;
    try_many(sparse, target, 4000, 3, Expected::equal);
    target.format = Format::vhd;
    try_many(sparse, target, 5000, 1, Expected::equal);
}

} // namespace
} // namespace coppice
