// VHD structures as they stand on disk, in the dialect of blktap. Big-endian throughout.
//
// Only layout: meaning and validation are in footer.h, header.h, batmap.h. Field by field in docs/formats/vhd.md.
#pragma once

#include <boost/endian/buffers.hpp>

#include <array>
#include <cstddef>
#include <type_traits>

namespace coppice::vhd::disk {

using be32 = boost::endian::big_uint32_buf_t;
using be64 = boost::endian::big_uint64_buf_t;

/// At the end of every VHD; a copy at offset 0 of dynamic and differencing ones.
struct Footer {
    std::array<std::byte, 8> cookie;              //  0  "conectix"; "v_poison" while a journaled resize is under way
    be32 features;                                //  8  bit 1 always set, bit 0: temporary
    be32 version;                                 // 12  0x00010000
    be64 data_offset;                             // 16  of the dynamic header; all ones for fixed
    be32 timestamp;                               // 24  creation, seconds since 2000-01-01
    std::array<std::byte, 4> creator_application; // 28  "tap" and a zero for blktap
    be32 creator_version;                         // 32  major << 16 | minor
    be32 creator_os;                              // 36
    be64 original_size;                           // 40  bytes
    be64 current_size;                            // 48  bytes: the virtual size
    be32 geometry;                       // 56  cylinders << 16 | heads << 8 | sectors; without influence on I/O
    be32 type;                           // 60  2 fixed, 3 dynamic, 4 differencing
    be32 checksum;                       // 64
    std::array<std::byte, 16> uuid;      // 68
    std::byte saved;                     // 84
    std::byte hidden;                    // 85  blktap only; reserved for everybody else
    std::array<std::byte, 426> reserved; // 86
};
static_assert(sizeof(Footer) == 512 && alignof(Footer) == 1);
static_assert(offsetof(Footer, current_size) == 48 && offsetof(Footer, checksum) == 64);
static_assert(offsetof(Footer, uuid) == 68 && offsetof(Footer, hidden) == 85);
static_assert(std::is_trivially_copyable_v<Footer>);

/// Eight of these in the dynamic header, from byte 576.
struct ParentLocator {
    be32 platform_code; //  0  "W2ku", "W2ru", "MacX", …; zero: slot unused
    be32 data_space;    //  4  room for the text: below 512 sectors, otherwise bytes
    be32 data_length;   //  8  bytes used
    be32 reserved;      // 12
    be64 data_offset;   // 16  bytes from the start of the file
};
static_assert(sizeof(ParentLocator) == 24 && offsetof(ParentLocator, data_offset) == 16);
static_assert(std::is_trivially_copyable_v<ParentLocator>);

struct DynamicHeader {
    std::array<std::byte, 8> cookie;        //   0  "cxsparse"
    be64 data_offset;                       //   8  all ones
    be64 table_offset;                      //  16  of the BAT
    be32 version;                           //  24  0x00010000
    be32 table_entries;                     //  28  entries the BAT has room for
    be32 block_size;                        //  32
    be32 checksum;                          //  36
    std::array<std::byte, 16> parent_uuid;  //  40  zero on a differencing disk: the parent is raw
    be32 parent_timestamp;                  //  56
    be32 reserved;                          //  60
    std::array<std::byte, 512> parent_name; //  64  UTF-16BE, base name
    std::array<ParentLocator, 8> locators;  // 576
    std::array<std::byte, 256> reserved2;   // 768
};
static_assert(sizeof(DynamicHeader) == 1024 && alignof(DynamicHeader) == 1);
static_assert(offsetof(DynamicHeader, checksum) == 36 && offsetof(DynamicHeader, parent_name) == 64);
static_assert(offsetof(DynamicHeader, locators) == 576 && offsetof(DynamicHeader, reserved2) == 768);
static_assert(std::is_trivially_copyable_v<DynamicHeader>);

/// Directly behind the padded BAT; blktap only.
struct BatmapHeader {
    std::array<std::byte, 8> cookie;     //  0  "tdbatmap"
    be64 offset;                         //  8  of the map, bytes
    be32 size;                           // 16  of the map, sectors
    be32 version;                        // 20  0x00010002
    be32 checksum;                       // 24  of the map, not of this header
    std::byte marker;                    // 28
    std::byte key_hash_flag;             // 29
    std::array<std::byte, 32> nonce;     // 30
    std::array<std::byte, 32> key_hash;  // 62
    std::array<std::byte, 418> reserved; // 94
};
static_assert(sizeof(BatmapHeader) == 512 && alignof(BatmapHeader) == 1);
static_assert(offsetof(BatmapHeader, checksum) == 24 && offsetof(BatmapHeader, nonce) == 30);
static_assert(offsetof(BatmapHeader, reserved) == 94);
static_assert(std::is_trivially_copyable_v<BatmapHeader>);

} // namespace coppice::vhd::disk
