// QCOW2 structures exactly as they stand on disk. Big-endian, alignment 1.
// Source: QEMU docs/interop/qcow2.txt; XCP-ng's hidden flag: sm 3.2.12.
#pragma once

#include <boost/endian/buffers.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace coppice::qcow2::disk {

using be32 = boost::endian::big_uint32_buf_t;
using be64 = boost::endian::big_uint64_buf_t;

inline constexpr std::uint32_t magic = 0x514649FB; // "QFI\xfb"

struct Header {
    be32 magic;                   //   0
    be32 version;                 //   4  2 or 3
    be64 backing_file_offset;     //   8  0 = none
    be32 backing_file_size;       //  16  at most 1023
    be32 cluster_bits;            //  20  9 … 21
    be64 size;                    //  24  guest bytes
    be32 crypt_method;            //  32  0 none, 1 AES, 2 LUKS
    be32 l1_size;                 //  36  entries
    be64 l1_table_offset;         //  40
    be64 refcount_table_offset;   //  48
    be32 refcount_table_clusters; //  56
    be32 nb_snapshots;            //  60
    be64 snapshots_offset;        //  64
    // Version 2 ends here.
    be64 incompatible_features;    //  72
    be64 compatible_features;      //  80
    be64 autoclear_features;       //  88
    be32 refcount_order;           //  96  width = 1 << order bits
    be32 header_length;            // 100
    std::uint8_t compression_type; // 104 present when header_length > 104
    std::uint8_t padding[7];
};
static_assert(sizeof(Header) == 112 && offsetof(Header, l1_table_offset) == 40 &&
              offsetof(Header, compression_type) == 104);
static_assert(std::is_trivially_copyable_v<Header>);

inline constexpr std::size_t version2_length = 72;

struct ExtensionHeader {
    be32 type;   // 0 = end
    be32 length; // of the data that follows, padded to 8
};
static_assert(sizeof(ExtensionHeader) == 8);

struct BitmapsExtension {
    be32 nb_bitmaps;       //  0  1 … 65535
    be32 reserved;         //  4
    be64 directory_size;   //  8  bytes, at most 64 MiB
    be64 directory_offset; // 16  cluster aligned
};
static_assert(sizeof(BitmapsExtension) == 24);

struct BitmapDirectoryEntry {                  // followed by extra data, the name, and padding to 8
    be64 table_offset;                         //  0  cluster aligned
    be32 table_size;                           //  8  entries of 64 bits
    be32 flags;                                // 12
    std::uint8_t type;                         // 16  1 = dirty tracking
    std::uint8_t granularity_bits;             // 17
    boost::endian::big_uint16_buf_t name_size; // 18
    be32 extra_data_size;                      // 20
};
static_assert(sizeof(BitmapDirectoryEntry) == 24);

struct SnapshotEntry {                         // followed by extra data, id, name, and padding to 8
    be64 l1_table_offset;                      //  0  cluster aligned
    be32 l1_size;                              //  8  entries
    boost::endian::big_uint16_buf_t id_size;   // 12
    boost::endian::big_uint16_buf_t name_size; // 14
    be32 date_seconds;                         // 16
    be32 date_nanoseconds;                     // 20
    be64 vm_clock_nanoseconds;                 // 24
    be32 vm_state_size;                        // 32
    be32 extra_data_size;                      // 36
};
static_assert(sizeof(SnapshotEntry) == 40);

inline constexpr std::uint32_t extension_end = 0;
inline constexpr std::uint32_t extension_backing_format = 0xE2792ACA;
inline constexpr std::uint32_t extension_feature_names = 0x6803F857;
inline constexpr std::uint32_t extension_bitmaps = 0x23852875;
inline constexpr std::uint32_t extension_encryption = 0x0537BE77;
inline constexpr std::uint32_t extension_data_file = 0x44415441;
inline constexpr std::uint32_t extension_hidden = 0x76617465; // "vate", XCP-ng; first data byte not 0 = hidden

inline constexpr std::uint64_t incompatible_dirty = 1U << 0;
inline constexpr std::uint64_t incompatible_corrupt = 1U << 1;
inline constexpr std::uint64_t incompatible_data_file = 1U << 2;
inline constexpr std::uint64_t incompatible_compression = 1U << 3;
inline constexpr std::uint64_t incompatible_extended_l2 = 1U << 4;
inline constexpr std::uint64_t incompatible_known = 0x1F;
inline constexpr std::uint64_t autoclear_bitmaps = 1U << 0;
inline constexpr std::uint64_t autoclear_raw_data_file = 1U << 1;

// Entries of the L1 and L2 tables and of the refcount table.
inline constexpr std::uint64_t offset_mask = 0x00FFFFFFFFFFFE00; // bits 9 … 55
inline constexpr std::uint64_t copied_flag = 1ULL << 63;         // the cluster's refcount is exactly 1
inline constexpr std::uint64_t compressed_flag = 1ULL << 62;     // L2 only
inline constexpr std::uint64_t zero_flag = 1ULL;                 // L2 of version 3 without extended L2
inline constexpr std::uint64_t l1_reserved = 0x7F000000000001FF;
inline constexpr std::uint64_t l2_reserved = 0x3F000000000001FE; // standard entry; bit 0 apart
inline constexpr std::uint64_t refcount_table_reserved = 0x1FF;

inline constexpr unsigned subclusters_per_cluster = 32;

} // namespace coppice::qcow2::disk
