// The first half of a scan: what each image file says of itself, without regard to the others.
#pragma once

#include "gc/scan/salvage.h"
#include "gc/scan/scan.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace coppice {

/// One image file of the listing.
struct ImageFile {
    std::string uuid;
    std::string name;
    Format format;
    StorageEntry::Kind kind;
};

/// What was read of it.
struct ScannedImage {
    TreeNode node; ///< without parent
    std::optional<ParentReference> parent;
    std::optional<Uuid> vhd_uuid;
    std::optional<std::string> data_file; ///< as stored, of an image whose data stands in another file
    bool vanished = false;
    bool header_read = false; ///< it tells whether there is a parent, and which
    /// Of a damaged one whose header does not tell: what else was found.
    std::optional<Salvage> salvaged;
};

std::vector<ImageFile> image_files(const Storage& storage);

/// In the order of `files`. Never throws on what one file holds.
std::vector<ScannedImage> read_images(Storage& storage, const std::vector<ImageFile>& files,
                                      const ScanOptions& options);

/// Marks `node` as not usable, for the first reason that is found.
void mark(TreeNode& node, NodeState state, std::string reason, std::string text);

} // namespace coppice
