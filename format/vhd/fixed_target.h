// A fixed VHD as the receiver of a merge: the guest's bytes stand at their own offsets.
//
// There is no copy of the footer, so that growing a file goes through the edit log: at no moment does the former footer
// become visible to a guest, and recovery applies the edit again.
#pragma once

#include "format/merge_target.h"
#include "format/vhd/headers.h"

namespace coppice::vhd {

class FixedTarget final : public MergeTarget {
public:
    /// Throws Unsupported or CorruptImage where the image must not be written to.
    FixedTarget(BlockDevice& device, EditLog& log);

    void prepare() override;
    void grow(Bytes virtual_size, const Beneath& beneath, DataMover& mover) override;
    void write(std::span<const GuestWrite> batch, const Beneath& beneath, DataMover& mover) override;
    void finish(Becomes becomes) override;

private:
    Bytes virtual_size() const { return round_down(footer_.current_size(), sector_size); }
    void grow_in_slack(Bytes virtual_size);
    void grow_file(Bytes virtual_size);

    BlockDevice& device_;
    EditLog& log_;
    Footers footers_;
    Footer footer_;
    Bytes footer_offset_;
};

} // namespace coppice::vhd
