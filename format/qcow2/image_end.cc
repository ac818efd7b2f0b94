#include "format/qcow2/image_end.h"

#include "format/qcow2/refcounts.h"

#include <boost/endian/conversion.hpp>

#include <cstring>

namespace coppice::qcow2 {

Bytes image_end(const BlockDevice& device, const Header& header) {
    const Bytes cluster = header.cluster_size();
    std::vector<std::byte> table((cluster * header.refcount_table_clusters).count());
    device.read_padded(header.refcount_table_offset, table);
    std::vector<std::byte> block(cluster.count());
    for (std::uint64_t index = table.size() / 8; index-- > 0;) {
        std::uint64_t entry = 0;
        std::memcpy(&entry, table.data() + index * 8, sizeof entry);
        boost::endian::big_to_native_inplace(entry);
        if (entry == 0) continue;
        const Bytes offset{entry};
        if (!is_aligned(offset, cluster) || offset >= device.size()) return device.size();
        device.read_padded(offset, block);
        for (std::uint64_t in_block = header.refcounts_per_block(); in_block-- > 0;) {
            if (decode_refcount(block, in_block, header.refcount_order) == 0) continue;
            const std::uint64_t number = index * header.refcounts_per_block() + in_block + 1;
            return number > device.size() / cluster ? device.size() : cluster * number;
        }
    }
    return device.size();
}

} // namespace coppice::qcow2
