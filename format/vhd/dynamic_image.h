// A dynamic or differencing VHD as an Image.
//
// Opening costs one batch of reads, plus one for parent locators far behind; the block table is read when first asked
// for, bitmaps for each map(). The batmap is never trusted: a bit too many in it would show what lies under clear bits.
#pragma once

#include "format/image.h"
#include "format/vhd/headers.h"

#include <optional>

namespace coppice::vhd {

class DynamicImage final : public Image {
public:
    /// Throws CorruptImage where a differencing disk names no parent.
    DynamicImage(std::unique_ptr<BlockDevice> device, Headers headers);

    Format format() const override { return Format::vhd; }
    Bytes virtual_size() const override { return layout().virtual_size; }
    bool hidden() const override { return headers_.footer.hidden(); }
    std::optional<ParentReference> parent() const override { return parent_; }
    std::optional<Uuid> vhd_uuid() const override { return headers_.footer.uuid(); }

    std::optional<Bytes> next_mapped(Bytes from) const override;
    std::vector<MapRun> map(ByteRange window) const override;
    Bytes allocated_size() const override;
    Bytes physical_size() const override;
    TargetShape target_shape() const override;
    std::unique_ptr<const TargetSpace> target_space() const override;
    std::unique_ptr<const TailSpace> tail_space() const override;
    void forget(const RangeList& guest, EditLog& log) override;

    HeaderEdit relinked(const std::optional<NewParent>& parent) const override;
    HeaderEdit with_hidden(bool hidden) const override;
    std::unique_ptr<MergeTarget> merge_target(EditLog& log) override;

private:
    /// Part of one block whose bitmap bits are wanted.
    struct BlockPart {
        std::uint64_t block;
        std::uint64_t begin; ///< sectors in the block
        std::uint64_t end;
        std::size_t bits = 0; ///< where the bitmap's sectors stand in the buffer
    };

    const Layout& layout() const { return *headers_.layout; }
    const Bat& bat() const;
    void map_parts(std::vector<BlockPart>& parts, std::vector<std::byte>& buffer, std::vector<MapRun>& runs) const;
    void check_entry(std::uint64_t block, Bytes bitmap_needed) const;

    Headers headers_;
    Bytes data_limit_;
    std::optional<ParentReference> parent_;
    mutable std::optional<Bat> bat_; ///< read when first needed
};

} // namespace coppice::vhd
