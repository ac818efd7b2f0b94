// Changes numbers in the first sector of an image, in one write of that sector: what a power cut leaves is either the
// old or the new header. Source: all fields that change together lie in the first 512 bytes.
#pragma once

#include "format/base/block_device.h"

#include <array>

namespace coppice::qcow2 {

class SectorEdit {
public:
    /// Reads the sector. `device` must outlive this.
    explicit SectorEdit(BlockDevice& device);

    void put32(std::size_t offset, std::uint32_t value);
    void put64(std::size_t offset, std::uint64_t value);
    /// Not flushed.
    void write();

private:
    BlockDevice& device_;
    std::array<std::byte, sector_size.count()> sector_{};
};

} // namespace coppice::qcow2
