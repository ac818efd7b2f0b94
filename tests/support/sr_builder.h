// Builds SRs in memory for tests: chains of images with known content, and the bytes that each of their guests reads.
#pragma once

#include "format/base/byte_range.h"
#include "format/image.h"
#include "tests/support/memory_storage.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice::test {

/// What one layer holds at a place: bytes made from a seed, or explicit zeros with seed 0.
struct Fill {
    ByteRange guest;
    std::uint32_t seed;
};

struct ImageSpec {
    std::string name; ///< short; its UUID is made of it
    Format format = Format::qcow2;
    std::optional<std::string> parent; ///< name of an image built before
    bool hidden = false;
    Bytes size = 2_MiB;
    std::vector<Fill> fills;
    unsigned cluster_bits = 16; ///< QCOW2
    bool extended_l2 = false;   ///< QCOW2
    unsigned version = 3;       ///< QCOW2
    Bytes block_size = 2_MiB;   ///< VHD
};

std::string uuid_of(const std::string& name);
std::string file_of(const ImageSpec& image);

/// Adds the image; its parent is there already.
void build(MemoryStorage& storage, const ImageSpec& image);

using GuestBytes = std::map<std::string, std::vector<std::byte>>; ///< by uuid
/// What the guest of every visible image reads, through whatever chain the SR gives it now. Fails the test where a
/// visible image cannot be read.
GuestBytes visible_disks(MemoryStorage& storage);

} // namespace coppice::test
