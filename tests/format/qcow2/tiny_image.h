// The least that has reference counts: header, refcount table and one block, each one cluster of 512 bytes.
#pragma once

#include "format/qcow2/refcounts.h"
#include "tests/support/memory_device.h"

#include <boost/endian/conversion.hpp>
#include <cstring>
#include <memory>

namespace coppice::test {

struct TinyImage {
    static constexpr std::uint64_t cluster = 512;

    explicit TinyImage(unsigned order) {
        header.cluster_bits = 9;
        header.refcount_order = order;
        header.refcount_table_offset = Bytes{cluster};
        header.refcount_table_clusters = 1;
        file->bytes.resize(3 * cluster);
        set_block(0, 2);
        for (std::uint64_t used = 0; used < 3; ++used)
            qcow2::encode_refcount(std::span{file->bytes}.subspan(2 * cluster), used, order, 1);
        file->flush();
    }
    /// The block with this index stands in this cluster; uncounted.
    void set_block(std::uint64_t index, std::uint64_t number) {
        const std::uint64_t entry = boost::endian::native_to_big(number * cluster);
        std::memcpy(file->bytes.data() + cluster + 8 * index, &entry, sizeof entry);
    }
    std::unique_ptr<MemoryDevice> device(bool fixed = false, PowerSupply* power = nullptr) {
        return std::make_unique<MemoryDevice>(file, "tiny", power, fixed);
    }

    std::shared_ptr<MemoryFile> file = std::make_shared<MemoryFile>();
    qcow2::Header header;
};

} // namespace coppice::test
