#include "format/qcow2/target.h"

#include "format/base/error.h"
#include "format/qcow2/grow.h"
#include "format/qcow2/preparation.h"
#include "format/qcow2/write_round.h"

#include <optional>
#include <stdexcept>

namespace coppice::qcow2 {
namespace {

class Target final : public MergeTarget {
public:
    Target(BlockDevice& device, EditLog& log) : device_{device}, preparation_{std::in_place, device, log} {}

    void prepare() override {
        if (!preparation_) return;
        Header header = preparation_->carry_out();
        preparation_.reset();
        image_.emplace(device_, std::move(header));
    }

    void grow(Bytes virtual_size, const Beneath& beneath, DataMover& mover) override {
        qcow2::grow(image(), round_up(virtual_size, sector_size), beneath, mover);
    }

    void write(std::span<const GuestWrite> batch, const Beneath& beneath, DataMover& mover) override {
        Writable& image = this->image();
        const Bytes end = image.header.virtual_size();
        if (!batch.empty() && batch.back().guest.end > end) throw std::logic_error{"write behind the end of the disk"};
        write_ranges(image, batch, beneath, end, mover);
    }

    void finish(Becomes) override {
        Writable& image = this->image();
        image.in_doubt = true;
        image.refcounts.write_counts();
        image.device.flush();
        const Bytes end = image.offset_of(image.allocator.end());
        if (!device_.fixed_size() && device_.size() != end) {
            device_.set_size(end);
            device_.flush();
        }
        image.in_doubt = false;
    }

private:
    Writable& image() {
        if (!image_) throw std::logic_error{"merge into an image that has not been prepared"};
        image_->expect_usable();
        return *image_;
    }

    BlockDevice& device_;
    std::optional<Preparation> preparation_;
    std::optional<Writable> image_;
};

} // namespace

std::unique_ptr<MergeTarget> merge_target(BlockDevice& device, EditLog& log) {
    return std::make_unique<Target>(device, log);
}

} // namespace coppice::qcow2
