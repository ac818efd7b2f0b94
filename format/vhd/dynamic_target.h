// A dynamic or differencing VHD as the receiver of a merge.
#pragma once

#include "format/merge_target.h"
#include "format/vhd/writable_disk.h"

namespace coppice::vhd {

class DynamicTarget final : public MergeTarget {
public:
    /// Throws Unsupported or CorruptImage where the image must not be written to.
    DynamicTarget(BlockDevice& device, EditLog& log) : disk_{device, log} {}

    /// Both footers valid and equal, no space behind the end that a crash has left, no parent named in a root.
    void prepare() override;
    void grow(Bytes virtual_size, const Beneath& beneath, DataMover& mover) override;
    void write(std::span<const GuestWrite> batch, const Beneath& beneath, DataMover& mover) override;
    void finish(Becomes becomes) override;

private:
    void forget_former_parent();
    void scrub_clear_sectors();
    void update_batmap();

    WritableDisk disk_;
};

} // namespace coppice::vhd
