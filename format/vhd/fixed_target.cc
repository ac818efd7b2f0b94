#include "format/vhd/fixed_target.h"

#include "format/base/error.h"

#include <array>

namespace coppice::vhd {
namespace {

Footer fixed_footer(const BlockDevice& device, const Footers& footers) {
    if (!footers.primary || !footers.primary->is(DiskType::fixed))
        throw CorruptImage{device.name(), "the footer of a fixed disk"};
    if (footers.primary->poisoned()) throw Unsupported{device.name(), "an interrupted resize has to be reverted first"};
    if (footers.primary->current_size() > footers.primary_offset)
        throw CorruptImage{device.name(), "all bytes of a fixed disk in the file"};
    return *footers.primary;
}

} // namespace

FixedTarget::FixedTarget(BlockDevice& device, EditLog& log)
    : device_{device}, log_{log}, footers_{read_footers(device)}, footer_{fixed_footer(device, footers_)},
      footer_offset_{footers_.primary_offset} {}

void FixedTarget::prepare() {
    if (!footers_.primary_short) return;
    // One byte more; what is there of the footer does not change.
    device_.write_at(footer_offset_, footer_.pack());
    device_.flush();
    footers_.primary_short = false;
}

void FixedTarget::grow(Bytes size, const Beneath&, DataMover&) {
    if (size <= virtual_size()) return;
    size = round_up(size, sector_size);
    if (size > largest_virtual_size)
        throw Refused{"virtual-size", device_.name(), "a VHD cannot be larger than 2040 GiB"};
    prepare();
    if (size <= footer_offset_)
        grow_in_slack(size);
    else if (device_.fixed_size())
        throw NoSpace{device_.name(), size + footer_size, device_.size()};
    else
        grow_file(size);
}

void FixedTarget::grow_in_slack(Bytes size) {
    device_.zero({virtual_size(), size});
    device_.flush();
    footer_ = footer_.with_size(size);
    device_.write_at(footer_offset_, footer_.pack());
    device_.flush();
}

void FixedTarget::grow_file(Bytes size) {
    if (virtual_size() < footer_offset_) {
        device_.zero({virtual_size(), footer_offset_});
        device_.flush();
    }
    const Footer larger = footer_.with_size(size);
    // The new place keeps the former size until the former footer, which the larger disk would show, is gone. Where the
    // places overlap, its tail is part of the new one.
    const Bytes stale_end = std::min(footer_offset_ + footer_size, size);
    const std::vector<std::byte> zeros((stale_end - footer_offset_).count());
    HeaderEdit edit;
    edit.phases.push_back({{size, footer_.pack()}});
    edit.phases.push_back({{footer_offset_, zeros}});
    edit.phases.push_back({{size, larger.pack()}});
    apply_logged(device_, edit, log_);
    footer_ = larger;
    footer_offset_ = size;
}

void FixedTarget::write(std::span<const GuestWrite> batch, const Beneath&, DataMover& mover) {
    std::vector<Transfer> transfers;
    for (const GuestWrite& write : batch) {
        if (write.guest.end > virtual_size()) throw std::logic_error{"write behind the end of the disk"};
        transfers.push_back(plain_transfer(write));
    }
    mover.move(device_, transfers);
    device_.flush();
}

void FixedTarget::finish(Becomes) {}

} // namespace coppice::vhd
