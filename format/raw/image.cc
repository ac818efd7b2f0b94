#include "format/raw/image.h"

#include "format/base/error.h"
#include "format/merge_target.h"

namespace coppice::raw {
namespace {

class RawTarget final : public MergeTarget {
public:
    explicit RawTarget(BlockDevice& device) : device_{device} {}

    void prepare() override {}

    void grow(Bytes virtual_size, const Beneath&, DataMover&) override {
        if (device_.size() >= virtual_size) return;
        if (device_.fixed_size())
            throw Unsupported{device_.name(), "a raw volume must be enlarged and zeroed before it is merged into"};
        device_.set_size(virtual_size); // the new range is a hole; a former odd tail was never followed by anything
        device_.flush();
    }

    void write(std::span<const GuestWrite> batch, const Beneath&, DataMover& mover) override {
        std::vector<Transfer> transfers;
        for (const GuestWrite& write : batch)
            transfers.push_back(plain_transfer(write));
        mover.move(device_, transfers);
        device_.flush();
    }

    void finish(Becomes) override {}

private:
    BlockDevice& device_;
};

class RawImage final : public Image {
public:
    explicit RawImage(std::unique_ptr<BlockDevice> device) : Image{std::move(device)} {}

    Format format() const override { return Format::raw; }
    Bytes virtual_size() const override { return round_up(device().size(), sector_size); }
    bool hidden() const override { return false; }
    std::optional<ParentReference> parent() const override { return std::nullopt; }

    std::optional<Bytes> next_mapped(Bytes from) const override {
        // Nothing lies below a raw image, so that its holes are as good as unallocated.
        const auto data = device().next_data(from);
        if (!data) return std::nullopt;
        return round_down(data->begin, sector_size) < from ? from : round_down(data->begin, sector_size);
    }

    std::vector<MapRun> map(ByteRange window) const override {
        std::vector<MapRun> runs;
        window = intersection(window, {0_B, virtual_size()});
        for (Bytes at = window.begin; at < window.end;) {
            const auto data = device().next_data(at);
            if (!data || data->begin >= window.end) break;
            const Bytes begin = std::max(at, round_down(data->begin, sector_size));
            const Bytes end = std::min(window.end, round_up(data->end, sector_size));
            runs.push_back({{begin, end}, Content::data, begin});
            at = end;
        }
        return runs;
    }

    Bytes allocated_size() const override {
        Bytes sum;
        for (auto data = device().next_data(0_B); data; data = device().next_data(data->end))
            sum += data->length();
        return sum;
    }
    Bytes physical_size() const override { return device().size(); }
    TargetShape target_shape() const override {
        TargetShape shape;
        if (device().fixed_size()) shape.largest_virtual_size = device().size();
        return shape;
    }

    HeaderEdit relinked(const std::optional<NewParent>& parent) const override {
        if (parent) throw Unsupported{name(), "a raw image cannot have a parent"};
        return {};
    }
    HeaderEdit with_hidden(bool hidden) const override {
        if (hidden) throw Unsupported{name(), "a raw image has no hidden flag"};
        return {};
    }

    std::unique_ptr<MergeTarget> merge_target(EditLog&) override { return std::make_unique<RawTarget>(device()); }
};

} // namespace

std::unique_ptr<Image> open(std::unique_ptr<BlockDevice> device) {
    return std::make_unique<RawImage>(std::move(device));
}

CheckReport check(const BlockDevice&) {
    return {};
}

} // namespace coppice::raw
