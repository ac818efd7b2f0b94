// The snapshot trees of one SR as a value: what a scan found, and all that the planner may know.
#pragma once

#include "format/base/block_device.h"
#include "format/base/units.h"
#include "format/image.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice {

/// `unknown`: could not be read (permission, I/O error, symbolic link), so nothing at all can be said of it.
enum class NodeState { ok, damaged, unknown };

std::string_view to_string(NodeState state);

/// A process that has an image open, or holds a lock on it.
struct Opener {
    int pid = 0; ///< 0 where only a lock is seen
    std::string name;

    bool operator==(const Opener&) const = default;
};

struct TreeNode {
    std::string uuid; ///< as in the file name; "OLD_<uuid>" for a leaf that sm has set aside
    std::string file; ///< name in the storage
    Format format = Format::raw;
    std::optional<std::string>
        parent; ///< uuid of a node of the same tree; nullopt for a root, and where the parent is missing
    bool hidden = false;
    NodeState state = NodeState::ok;
    std::string reason; ///< reason code; empty when ok
    std::string text;   ///< what is wrong, for people
    Bytes virtual_size;
    Bytes physical_size;
    Bytes allocated_size;
    FileIdentity identity; ///< as the scan found it; zeros where the file could not be opened
    std::vector<Opener> openers;
    /// Nodes that this one may depend on although its own header does not say so reliably: parents found in a damaged
    /// header, or remembered by the journal.
    std::vector<std::string> suspected_parents;
};

/// Sorted by uuid.
struct SrTree {
    std::vector<TreeNode> nodes;
    /// False when something that may be an image could not be looked at, and nobody remembers what it depends on: then
    /// nothing that might be its parent may be deleted or changed.
    bool complete = true;

    const TreeNode* find(const std::string& uuid) const;
    TreeNode* find(const std::string& uuid);
    /// Uuids of the children, sorted.
    std::vector<std::string> children(const std::string& uuid) const;
};

} // namespace coppice
