// The second half of a scan: from what each image records of its parent to trees.
#pragma once

#include "gc/scan/scan_read.h"

namespace coppice {

struct Linked {
    SrTree tree;
    /// An image names a file that is in the SR but was not in the listing: somebody renamed while we read.
    bool unsteady = false;
};

Linked link_images(const Storage& storage, std::vector<ScannedImage> images, const ScanOptions& options);

} // namespace coppice
