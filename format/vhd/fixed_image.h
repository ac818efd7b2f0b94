// A fixed VHD as an Image: the guest's bytes, then one footer.
#pragma once

#include "format/image.h"
#include "format/vhd/headers.h"

namespace coppice::vhd {

class FixedImage final : public Image {
public:
    /// Throws CorruptImage where the file is shorter than the disk.
    FixedImage(std::unique_ptr<BlockDevice> device, Headers headers);

    Format format() const override { return Format::vhd; }
    Bytes virtual_size() const override { return round_down(headers_.footer.current_size(), sector_size); }
    bool hidden() const override { return headers_.footer.hidden(); }
    std::optional<ParentReference> parent() const override { return std::nullopt; }
    std::optional<Uuid> vhd_uuid() const override { return headers_.footer.uuid(); }

    /// Nothing lies below a fixed disk, so that holes of its file are as good as unallocated.
    std::optional<Bytes> next_mapped(Bytes from) const override;
    std::vector<MapRun> map(ByteRange window) const override;
    Bytes allocated_size() const override { return virtual_size(); }
    Bytes physical_size() const override { return virtual_size() + footer_size; }
    TargetShape target_shape() const override {
        TargetShape shape; // like a raw file; a device has its footer at its end and cannot move it
        shape.largest_virtual_size = device().fixed_size() ? virtual_size() : largest_virtual_size;
        return shape;
    }

    HeaderEdit relinked(const std::optional<NewParent>& parent) const override;
    HeaderEdit with_hidden(bool hidden) const override;
    std::unique_ptr<MergeTarget> merge_target(EditLog& log) override;

private:
    Headers headers_;
};

} // namespace coppice::vhd
