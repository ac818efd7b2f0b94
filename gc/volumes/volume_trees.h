// The trees of an SR on LVM, read from its volumes without activating one.
#pragma once

#include "coalesce/tree_source.h"
#include "gc/scan/scan.h"
#include "gc/volumes/volume_storage.h"

namespace coppice {

/// Nobody can tell whether what stands in a volume has changed: everything is read anew on every question.
class VolumeTrees final : public TreeSource {
public:
    VolumeTrees(VolumeStorage& storage, ScanOptions options);

    /// Throws lvm::GroupChanged where others change the group all the time.
    SrTree current() override;

private:
    VolumeStorage& storage_;
    ScanOptions options_;
};

} // namespace coppice
