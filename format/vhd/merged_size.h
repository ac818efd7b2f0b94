// How far a dynamic or differencing VHD reaches after a merge into it: the steps of growth and of block batches, on
// numbers alone.
//
// Exact for every image that a merge accepts, where the lists of the merge are exact: new blocks are always appended,
// and nothing is ever given back.
#pragma once

#include "format/target_space.h"
#include "format/vhd/headers.h"

#include <cstdint>
#include <vector>

namespace coppice::vhd {

class MergedSize final : public TargetSpace {
public:
    /// `metadata_end` and `locators`, the room of all parent locators, are of this image.
    MergedSize(const Layout& layout, const Bat& bat, const std::optional<Batmap>& batmap, Bytes metadata_end,
               Bytes locators);

    Bytes end() const override;
    Bytes end_after(const MergeInput& merge) const override;

private:
    Bytes data_end() const;
    bool table_is_too_small(Bytes virtual_size) const;
    /// The metadata area as lay_out_area() makes it, and the blocks that have to leave it.
    Bytes end_with_larger_table(Bytes virtual_size) const;
    Bytes appended(Bytes end, std::uint64_t blocks) const;

    Layout layout_;
    std::optional<Bytes> batmap_size_; ///< room for the map
    Bytes metadata_end_;
    Bytes locators_;
    RangeList allocated_;               ///< blocks, as guest ranges
    std::vector<std::uint32_t> places_; ///< sectors at which blocks begin, ascending
};

/// Of an image whose headers have been read.
std::unique_ptr<const TargetSpace> merged_size(const BlockDevice& device, const Headers& headers, const Bat& bat);

} // namespace coppice::vhd
