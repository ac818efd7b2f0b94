#include "tests/format/vhd/vhd_world.h"

#include "format/vhd/headers.h"

#include <algorithm>
#include <array>

namespace coppice::vhd::test {
namespace {

struct OpenChain {
    std::vector<std::unique_ptr<Image>> images;
    std::vector<const Image*> layers;

    explicit OpenChain(const std::vector<Stored>& newest_first) {
        for (const Stored& stored : newest_first) {
            images.push_back(stored.open());
            layers.push_back(images.back().get());
        }
    }
    ChainView view() const { return ChainView{layers}; }
};

/// Bytes for a write; every fourth sector or so is zeros, so that all ways of writing zeros are met.
std::vector<std::byte> random_content(std::size_t length, std::mt19937_64& random) {
    std::vector<std::byte> bytes(length);
    for (std::size_t at = 0; at < length; at += 512)
        if (random() % 4 != 0)
            for (std::size_t i = 0; i < 512; ++i)
                bytes[at + i] = static_cast<std::byte>(random());
    return bytes;
}

GuestWrite write_of(const ChainRun& run) {
    if (run.content == Content::zero) return {run.guest, GuestWrite::Source::zeros, nullptr, 0_B, {}};
    return {run.guest, GuestWrite::Source::device, &run.layer->device(), run.run.host, {}};
}

} // namespace

void MemoryLog::begin(const std::string& image, const HeaderEdit& edit) {
    pending_ = {image, unpack_header_edit(pack(edit))};
}

Stored Stored::copy() const {
    Stored result = *this;
    result.file = std::make_shared<MemoryFile>(*file);
    return result;
}

std::unique_ptr<MemoryDevice> Stored::device(PowerSupply* power) const {
    return std::make_unique<MemoryDevice>(file, name, power, volume);
}

std::unique_ptr<Image> Stored::open(PowerSupply* power) const {
    return vhd::open(device(power));
}

Stored make(const Made& made) {
    Stored stored{made.name, std::make_shared<MemoryFile>(), made.volume_size > 0_B};
    // A volume holds what its former owner left there.
    stored.file->bytes.assign(made.volume_size.count(), std::byte{0xA5});
    stored.file->flush();
    if (made.fixed)
        create_fixed(*stored.device(), made.disk);
    else
        create(*stored.device(), made.disk);
    return stored;
}

std::vector<std::byte> guest_bytes(const std::vector<Stored>& newest_first) {
    const OpenChain chain{newest_first};
    std::vector<std::byte> bytes(chain.view().size().count());
    chain.view().read(0_B, bytes);
    return bytes;
}

std::vector<std::byte> bytes_without_bitmaps(const Stored& root) {
    const auto device = root.device();
    const Headers headers = read_headers(*device);
    const Layout& layout = *headers.layout;
    const Bat bat = Bat::read(*device, layout);
    std::vector<std::byte> bytes(layout.virtual_size.count());
    for (auto block = bat.next_allocated(0); block; block = bat.next_allocated(*block + 1)) {
        const ByteRange guest = layout.guest_of(*block);
        device->read_at(layout.data_of(bat[*block]),
                        std::span{bytes}.subspan(guest.begin.count(), guest.length().count()));
    }
    return bytes;
}

LoneTarget::LoneTarget(const Stored& stored) : image_{stored.open()}, target_{image_->merge_target(log_)} {
    target_->prepare();
}

void LoneTarget::write(ByteRange guest, std::span<const std::byte> bytes) {
    const std::array writes{GuestWrite{guest, GuestWrite::Source::memory, nullptr, 0_B, bytes}};
    target_->write(writes, {EmptyView{}, EmptyView{}}, mover_);
}

void LoneTarget::zero(ByteRange guest) {
    const std::array zeros{GuestWrite{guest, GuestWrite::Source::zeros, nullptr, 0_B, {}}};
    target_->write(zeros, {EmptyView{}, EmptyView{}}, mover_);
}

void LoneTarget::grow(Bytes size) {
    target_->grow(size, {EmptyView{}, EmptyView{}}, mover_);
}

void scribble(const Stored& image, const std::vector<Stored>& below, std::mt19937_64& random, std::size_t writes) {
    MemoryLog log;
    const OpenChain beneath{below};
    const ChainView view = beneath.view();
    const auto opened = image.open();
    const std::uint64_t sectors = opened->virtual_size() / sector_size;
    const auto target = opened->merge_target(log);
    BufferedMover mover{BufferedMover::Sharing::never};
    target->prepare();
    for (std::size_t i = 0; i < writes; ++i) {
        const std::uint64_t begin = random() % sectors;
        const std::uint64_t end = std::min(sectors, begin + 1 + random() % 24);
        const auto content = random_content((end - begin) * 512, random);
        const std::array batch{
            GuestWrite{{sector_size * begin, sector_size * end}, GuestWrite::Source::memory, nullptr, 0_B, content}};
        target->write(batch, {view, view}, mover);
    }
    target->finish(below.empty() ? MergeTarget::Becomes::root : MergeTarget::Becomes::child);
}

void pour(const Merge& merge, PowerSupply* power, EditLog& log) {
    const OpenChain now{merge.below_now};
    const OpenChain after{merge.below_after};
    const ChainView view_now = now.view();
    const ChainView view_after = after.view();
    OpenChain sources{merge.sources};
    Bytes size = sources.layers.front()->virtual_size();
    const auto opened = merge.target.open(power);
    if (merge.up) {
        // The target's own data is newer, so that only the rest of the sources counts.
        sources.images.insert(sources.images.begin(), merge.target.open());
        sources.layers.insert(sources.layers.begin(), sources.images.front().get());
        size = opened->virtual_size();
    }
    const auto target = opened->merge_target(log);
    BufferedMover mover{BufferedMover::Sharing::never, 8_KiB};
    target->prepare();
    target->grow(size, {view_now, view_after}, mover);
    for (Bytes at; at < size; at += merge.batch) {
        std::vector<GuestWrite> batch;
        for (const ChainRun& run : composite_map(sources.layers, {at, std::min(size, at + merge.batch)}))
            if (!merge.up || run.layer != sources.layers.front()) batch.push_back(write_of(run));
        target->write(batch, {view_now, view_after}, mover);
        if (merge.up) {
            // Maps are as of opening.
            sources.images.front() = merge.target.open();
            sources.layers.front() = sources.images.front().get();
        }
    }
    target->finish(merge.becomes);
}

void recover(std::vector<Stored>& files, MemoryLog& log, Unsynced unsynced, std::mt19937_64& random) {
    for (Stored& stored : files)
        stored.file->lose_power(unsynced, random);
    if (!log.pending()) return;
    for (Stored& stored : files)
        if (stored.name == log.pending()->first) apply(*stored.device(), log.pending()->second);
    log.end();
}

} // namespace coppice::vhd::test
