// What a user calls an SR and a VDI, turned into a directory and a node of its tree.
#pragma once

#include "coalesce/sr_tree.h"

#include <set>
#include <string>
#include <vector>

namespace coppice {

/// An SR that keeps its images as files in a directory, or as volumes of an LVM volume group.
struct SrLocation {
    std::string name;      ///< as in reports: its UUID where it is known, else its directory or vg:NAME
    std::string directory; ///< canonical: absolute, without links; empty where it is a volume group
    std::string uuid;      ///< empty where a directory or group was named and its own name tells no UUID
    std::string group;     ///< name of the volume group, empty where it is a directory
};

/// `sr` is the UUID of a mounted SR, a directory, or vg:NAME. Throws NotFound, SystemError or UsageError.
SrLocation locate_sr(const std::string& sr);

/// The node that `vdi` means: its UUID in either case, or 8 or more first characters of it that no other node has.
/// Throws NotFound, or UsageError where several nodes fit.
const TreeNode& find_vdi(const SrTree& tree, const std::string& vdi);

/// The UUIDs of several.
std::set<std::string> find_vdis(const SrTree& tree, const std::vector<std::string>& vdis);

} // namespace coppice
