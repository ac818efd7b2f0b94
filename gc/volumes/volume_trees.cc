#include "gc/volumes/volume_trees.h"

#include "gc/volumes/volume_names.h"
#include "lvm/error.h"

namespace coppice {

VolumeTrees::VolumeTrees(VolumeStorage& storage, ScanOptions options)
    : storage_{storage}, options_{std::move(options)} {
    options_.inside_sr = [group = storage.name()](std::string_view stored) {
        return file_of_parent_name(stored, group);
    };
}

SrTree VolumeTrees::current() {
    constexpr int attempts = 5; // as often may others change the group while we read it
    for (int attempt = 1;; ++attempt) {
        storage_.look();
        SrTree tree = scan_sr(storage_, options_);
        try {
            storage_.confirm();
            return tree;
        } catch (const lvm::GroupChanged&) {
            if (attempt == attempts) throw;
        }
    }
}

} // namespace coppice
