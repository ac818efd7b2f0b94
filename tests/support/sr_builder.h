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

Fill fill_at(Bytes begin, Bytes length, std::uint32_t seed);
/// With small blocks or clusters: many places in few bytes, for tests that go through every change.
ImageSpec small_image(Format format, std::string name, std::optional<std::string> parent, bool hidden,
                      std::vector<Fill> fills, Bytes size = 256_KiB);

std::string uuid_of(const std::string& name);
std::string file_of(const ImageSpec& image);

/// Adds the image; its parent is there already.
void build(MemoryStorage& storage, const ImageSpec& image);

// What happens to an SR, step by step, for tests that need a state in the middle. All of it is durable at once. Images
// are named by their node: the UUID, or OLD_<uuid>.

/// A guest, or whoever else, writes to one image.
void write_to(MemoryStorage& storage, const std::string& node, const std::vector<Fill>& fills);
/// The data part of a merge of `child` into its parent; grows the parent where it is smaller.
void pour_into_parent(MemoryStorage& storage, const std::string& child);
void mark_hidden(MemoryStorage& storage, const std::string& node, bool hidden);
void link_to(MemoryStorage& storage, const std::string& child, const std::string& parent);
/// Renames the image, keeping its extension.
void rename_node(MemoryStorage& storage, const std::string& node, const std::string& name);
/// What a guest of one image reads.
std::vector<std::byte> disk_of(MemoryStorage& storage, const std::string& node);

using GuestBytes = std::map<std::string, std::vector<std::byte>>; ///< by uuid
/// What the guest of every visible image reads, through whatever chain the SR gives it now. Fails the test where a
/// visible image cannot be read.
GuestBytes visible_disks(MemoryStorage& storage);

} // namespace coppice::test
