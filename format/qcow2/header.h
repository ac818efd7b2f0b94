// The QCOW2 header in host form, validated: feature bits, sizes, places of the tables, extensions, backing name.
#pragma once

#include "format/base/block_device.h"
#include "format/qcow2/disk_layout.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coppice::qcow2 {

/// The largest L1 table that QEMU's programs open: 32 MiB.
inline constexpr std::uint64_t most_l1_entries = (32ULL << 20) / 8;

struct Extension {
    std::uint32_t type = 0;
    Bytes offset; ///< of its 8-byte head, in the file
    std::vector<std::byte> data;
};

struct Header {
    unsigned version = 3;
    unsigned cluster_bits = 16;
    Bytes size;                ///< guest size as stored; the usable size is this rounded down to 512
    std::uint32_t l1_size = 0; ///< entries
    Bytes l1_table_offset;
    Bytes refcount_table_offset;
    std::uint32_t refcount_table_clusters = 0;
    std::uint32_t nb_snapshots = 0;
    Bytes snapshots_offset;
    std::uint64_t incompatible_features = 0;
    std::uint64_t compatible_features = 0;
    std::uint64_t autoclear_features = 0;
    unsigned refcount_order = 4;
    std::uint32_t header_length = disk::version2_length;
    std::uint8_t compression_type = 0;       ///< 0 deflate, 1 zstd
    Bytes backing_file_offset;               ///< 0 for none; it bounds the extensions even where the name is empty
    std::optional<std::string> backing_file; ///< nullopt for none, also for an empty name
    std::optional<std::string> data_file;    ///< where guest data stands instead of this file; nullopt: here
    std::vector<Extension> extensions;       ///< in file order, without the end mark
    Bytes extensions_end;                    ///< behind the end mark, or where the area ends without one

    Bytes cluster_size() const { return Bytes{1ULL << cluster_bits}; }
    bool extended_l2() const { return (incompatible_features & disk::incompatible_extended_l2) != 0; }
    Bytes virtual_size() const { return round_down(size, sector_size); }
    unsigned l2_entry_size() const { return extended_l2() ? 16 : 8; }
    std::uint64_t l2_entries() const { return cluster_size().count() / l2_entry_size(); }
    Bytes subcluster_size() const { return cluster_size() / disk::subclusters_per_cluster; }
    /// What one mapping decides on: a subcluster with extended L2, else a cluster.
    Bytes mapping_unit() const { return extended_l2() ? subcluster_size() : cluster_size(); }
    Bytes l2_covers() const { return cluster_size() * l2_entries(); }
    std::uint64_t refcounts_per_block() const { return (cluster_size().count() * 8) >> refcount_order; }

    /// Of the L1 entries that `size` needs; the table may be longer.
    std::uint64_t l1_entries_needed() const;

    const Extension* extension(std::uint32_t type) const;
    std::optional<std::string> backing_format() const;
    bool hidden() const;
};

/// Reads and validates everything that the rules of the format let a reader insist on before it may go on.
/// Throws CorruptImage for contradictions, Unsupported for features that are not for us. A header that this accepts may
/// still be unfit for writing: internal snapshots, the corrupt bit and such are judged by the check and the merge
/// target.
Header read_header(const BlockDevice& device);

/// The same from the first cluster's bytes, or from as much of it as the file has; `file_size` bounds the tables. For
/// fuzzing.
Header parse_header(std::span<const std::byte> first_cluster, const std::string& image, Bytes file_size);

} // namespace coppice::qcow2
