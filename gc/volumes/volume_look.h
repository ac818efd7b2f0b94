// Images of an SR on LVM for whoever only reads them: nothing is activated, nothing is written.
#pragma once

#include "gc/base/sr_name.h"
#include "gc/scan/chain_open.h"
#include "gc/volumes/volume_trees.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice {

struct NamedVolume {
    SrLocation sr;
    std::string file;
    Format format;
};
/// "/dev/<group>/VHD-<uuid>" and the like, whether the volume is active or not. nullopt for every other path.
std::optional<NamedVolume> named_volume(const std::string& path);

class VolumeLook {
public:
    /// Throws NotFound, SystemError, lvm::CommandFailed where the group cannot be seen.
    VolumeLook(const SrLocation& sr, const std::string& run_dir);

    /// All images, by name.
    std::vector<std::string> files() const;
    /// Path of the node that the image has when it is active.
    std::string path(const std::string& file) const;
    /// Newest first. Throws NotFound where there is no image of that name.
    OpenChain chain(const std::string& file);
    /// Of the layer alone. Throws what opening throws.
    std::unique_ptr<BlockDevice> open(const std::string& file) { return storage_.open(file, Access::read_only); }
    /// Whether all that was read came from where it should: throws Busy where the group has changed meanwhile.
    void confirm();

private:
    VolumeHost host_;
    VolumeStorage storage_;
    VolumeTrees trees_;
    SrTree tree_;
};

} // namespace coppice
