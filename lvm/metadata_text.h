// The metadata of a group as LVM keeps them on its PVs, for groups that consist of plain linear LVs.
//
// Source: LVM 2.03.16, lib/format_text/export.c and libdm/libdm-config.c; the format is that of vgcfgbackup(8).
#pragma once

#include "lvm/report.h"

#include <string_view>

namespace coppice::lvm {

/// The report of the group in `text`. It must consist of the PVs of `like`, which tells how their devices are called
/// and what else the text does not say. Throws BadReport on everything that an SR does not have: there LVM is asked.
VgReport parse_metadata(std::string_view text, const VgReport& like);

} // namespace coppice::lvm
