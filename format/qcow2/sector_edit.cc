#include "format/qcow2/sector_edit.h"

#include <boost/endian/conversion.hpp>

#include <cstring>

namespace coppice::qcow2 {

SectorEdit::SectorEdit(BlockDevice& device) : device_{device} {
    device_.read_padded(0_B, sector_);
}

void SectorEdit::put32(std::size_t offset, std::uint32_t value) {
    boost::endian::native_to_big_inplace(value);
    std::memcpy(sector_.data() + offset, &value, sizeof value);
}

void SectorEdit::put64(std::size_t offset, std::uint64_t value) {
    boost::endian::native_to_big_inplace(value);
    std::memcpy(sector_.data() + offset, &value, sizeof value);
}

void SectorEdit::write() {
    device_.write_at(0_B, sector_);
}

} // namespace coppice::qcow2
