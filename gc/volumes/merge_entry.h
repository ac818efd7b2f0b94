// sm's entry of a merge on an SR on LVM, for whoever has to take it away when the one who merged is gone.
#pragma once

#include "gc/base/sr_name.h"
#include "lvm/command.h"

#include <string>

namespace coppice {

/// The command that removes the entry which says that `vdi` is just being merged; it fails where there is none. Nothing
/// is run here.
lvm::Command removal_of_merge_entry(const SrLocation& sr, const std::string& run_dir, const std::string& vdi);

} // namespace coppice
