#include "gc/volumes/merge_entry.h"

#include "gc/volumes/volume_host.h"
#include "gc/volumes/volume_names.h"
#include "lvm/names.h"

namespace coppice {

lvm::Command removal_of_merge_entry(const SrLocation& sr, const std::string& run_dir, const std::string& vdi) {
    VolumeHost host{sr.group, sr.uuid, run_dir};
    const std::string volume = new_journal_volume("coalesce_" + vdi, "1", sr.group).volume;
    lvm::require_lv_name(sr.group, volume);
    return host.group().tool().changing({"lvremove", "-f", lvm::qualified(sr.group, volume)});
}

} // namespace coppice
