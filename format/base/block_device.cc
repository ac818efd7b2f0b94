#include "format/base/block_device.h"

#include <algorithm>

namespace coppice {

void BlockDevice::read_at(Bytes offset, std::span<std::byte> buffer) const {
    if (buffer.empty()) return;
    const ReadRequest request{offset, buffer};
    read({&request, 1});
}

std::vector<std::byte> BlockDevice::read_at(Bytes offset, Bytes length) const {
    std::vector<std::byte> buffer(length.count());
    read_at(offset, buffer);
    return buffer;
}

void BlockDevice::read_padded(Bytes offset, std::span<std::byte> buffer) const {
    const Bytes inside = offset < size() ? std::min(Bytes{buffer.size()}, size() - offset) : 0_B;
    read_at(offset, buffer.first(inside.count()));
    std::ranges::fill(buffer.subspan(inside.count()), std::byte{0});
}

void BlockDevice::write_at(Bytes offset, std::span<const std::byte> buffer) {
    if (buffer.empty()) return;
    const WriteRequest request{offset, buffer};
    write({&request, 1});
}

} // namespace coppice
