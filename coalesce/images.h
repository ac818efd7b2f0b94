// The images that a step works on, open, claimed, and proven to be used by nobody else.
#pragma once

#include "coalesce/merge_context.h"
#include "format/base/error.h"
#include "format/image.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace coppice {

/// One open image of the SR.
class OpenedImage {
public:
    /// Throws what opening throws.
    OpenedImage(MergeContext& context, const TreeNode& node, Access access);

    Image& image() { return *image_; }
    const Image& image() const { return *image_; }
    const TreeNode& node() const { return node_; }
    /// The same file read anew, after its header or tables have been changed.
    std::unique_ptr<Image> reopened(MergeContext& context) const;

private:
    TreeNode node_;
    std::unique_ptr<Image> image_;
};

/// Kept from other programs while this lives. For a short time only, in which nobody of sm's can come: within a
/// passage.
class ClaimedImage : public OpenedImage {
public:
    /// Looking for users goes through all processes of the host: who claims several images asks once for all of them.
    enum class Users { asked_for_here, asked_for_elsewhere };
    /// Throws Busy, or Refused("attached") naming the process that has it open, or what opening throws.
    ClaimedImage(MergeContext& context, const TreeNode& node, Access access, Users users = Users::asked_for_here);

    /// Others may have it; it stays open.
    void let_go() { claim_.reset(); }

private:
    std::unique_ptr<Claim> claim_; ///< goes before the image: it refers to its device
};

/// Refused("attached"), for an image that `opener` has open.
Refused held_open(const std::string& image, const Opener& opener);

/// Throws Refused("attached") where another process has one of the images open.
void require_unused(MergeContext& context, const std::vector<const Image*>& images);

/// An image that is going to be read for longer than a look, not claimed.
std::unique_ptr<Image> open_held(MergeContext& context, const TreeNode& node, Access access);

/// Nodes that are not there, or not ok, are left out.
void hold_all(MergeContext& context, const SrTree& tree, const std::set<std::string>& uuids);
/// The same for what is going to be written to.
void unseal_all(MergeContext& context, const SrTree& tree, const std::set<std::string>& uuids);
/// The trees, with these nodes held, those of them that are there: only of what is held can be told on every storage
/// whether it has changed since.
SrTree trees_holding(MergeContext& context, const std::set<std::string>& uuids);

/// For images that stay open behind the passage in which they were claimed; those that are null are left out.
void let_go(const std::vector<std::unique_ptr<ClaimedImage>>& images);

/// Deletes the image, kept from others until it is gone as far as the storage allows that.
void remove_image(MergeContext& context, std::unique_ptr<ClaimedImage>& image);

/// The node named `uuid`; throws NotFound, or Refused with the node's own reason where it is not ok.
const TreeNode& require_node(const SrTree& tree, const std::string& uuid);

/// Images from the parent of `uuid` to its root, newest first, open for reading and not claimed: others may read them
/// too.
std::vector<std::unique_ptr<Image>> open_ancestors(MergeContext& context, const SrTree& tree, const std::string& uuid);

/// What a child has to record of `parent`.
NewParent as_parent(const TreeNode& parent, const Image& image);

} // namespace coppice
