// What one L2 entry says, decoded without any I/O: standard and extended entries, compressed ones, versions 2 and 3.
#pragma once

#include "format/qcow2/header.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace coppice::qcow2 {

/// How the entries of one image are to be understood.
struct L2Rules {
    unsigned version = 3;
    unsigned cluster_bits = 16;
    bool extended = false;
    Bytes limit;            ///< no host offset reaches behind it: the end of the file rounded up to a cluster
    bool data_file = false; ///< host clusters stand in another file, each at the offset that the guest sees

    static L2Rules of(const Header& header, Bytes limit) {
        return {header.version, header.cluster_bits, header.extended_l2(), limit, header.data_file.has_value()};
    }
    Bytes cluster_size() const { return Bytes{1ULL << cluster_bits}; }
    /// Of the mapping: 32 subclusters, or the cluster as a whole.
    unsigned units() const { return extended ? disk::subclusters_per_cluster : 1; }
    Bytes unit_size() const { return cluster_size() / units(); }
};

/// What is wrong with an entry.
struct L2Defect {
    std::string_view code;        ///< as in a Finding
    std::string_view expectation; ///< as in CorruptImage
};

struct L2Entry {
    bool compressed = false;
    bool copied = false;            ///< the flag; never set for a compressed entry
    Bytes host;                     ///< the host cluster, or the first byte of the compressed stream; 0 for none, but
                                    ///< with a data file and `copied` the first cluster of that
    Bytes stream_length;            ///< compressed: bytes in which the stream ends, in whole sectors of the file
    std::uint32_t data_units = 0;   ///< bit per unit: stands in the host cluster
    std::uint32_t zero_units = 0;   ///< bit per unit: reads as zeros
    std::optional<L2Defect> defect; ///< set: no guest byte may be taken from the entry
    bool counts = false;            ///< holds a reference to where `host` points, which is a possible place; never to
                                    ///< a data file, whose clusters nobody counts

    bool maps_nothing() const { return !compressed && data_units == 0 && zero_units == 0; }
};

/// `bitmap` is the second word of an extended entry; it is ignored otherwise.
L2Entry decode_l2_entry(std::uint64_t word, std::uint64_t bitmap, const L2Rules& rules);

/// What is wrong with the place that `entry`, the one of the guest cluster at `guest`, names in a data file. Nothing
/// without a data file.
/// Source: QEMU docs/interop/qcow2.txt, "Cluster mapping"; QEMU 7.2 fails such reads with EIO.
std::optional<L2Defect> place_defect(const L2Entry& entry, Bytes guest, const L2Rules& rules);

/// Guest bytes of an entry that the host's own tools count as allocated: the whole cluster when the entry has a host
/// offset or bit 63, with extended L2 only the allocated subclusters.
Bytes allocated_by(std::uint64_t word, std::uint64_t bitmap, const L2Rules& rules);

} // namespace coppice::qcow2
