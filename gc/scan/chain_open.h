// Opens the chain of one image file, parent by parent, below a root directory.
//
// A name that an image records is data from outside: it never leads above the root, never through a symbolic link, and
// never to a network. A chain that loops or has no end is cut off. Formats come from the record or from the file name,
// never from content.
#pragma once

#include "format/base/unique_fd.h"
#include "format/check.h"
#include "format/image.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

enum class ChainProblemKind {
    none,
    image_damaged,       ///< an image of the chain cannot be opened because its bytes are wrong
    unsupported_feature, ///< an image of the chain is not for us
    parent_missing,      ///< the parent is not there
    parent_leads_out,    ///< its name means a place above the root, a link, or another protocol
    parent_elsewhere,    ///< its name means a volume of an LVM SR, which a directory cannot show
    parent_unusable,     ///< it is there, but it is no file or may not be read
    parent_format_unknown,
    chain_cycle,
    chain_too_long,
    data_file_missing,   ///< the file that holds an image's data is not there
    data_file_leads_out, ///< as parent_leads_out
    data_file_unusable,  ///< as parent_unusable, or the image itself
};

/// Why a chain ends before its root, or cannot be read.
struct ChainProblem {
    ChainProblemKind kind = ChainProblemKind::none;
    std::string file; ///< the image whose parent or data file it is, or that cannot be opened; below the root
    std::string text;
};

struct ChainLayer {
    std::string file; ///< below the root
    std::unique_ptr<Image> image;
};

struct ParentMismatch {
    std::string file; ///< of the child
    std::string text;
};

struct OpenChain {
    std::vector<ChainLayer> layers; ///< newest first; without what comes behind the problem
    ChainProblem problem;
    /// Children whose parent is not the image that they were made on: what they read is doubtful.
    std::vector<ParentMismatch> mismatches;

    bool complete() const { return problem.kind == ChainProblemKind::none && !layers.empty(); }
    std::vector<const Image*> images() const;
};

/// The directory below which all images of a chain lie.
class ChainRoot {
public:
    /// `path` is resolved once, links and all. Throws NotFound or SystemError.
    explicit ChainRoot(const std::string& path);

    /// Canonical.
    const std::string& path() const { return path_; }
    /// A name below the root: components separated by single slashes, no "." or "..". Throws NotFound, Refused for
    /// links and for anything that is neither a file nor a block device, SystemError.
    std::unique_ptr<BlockDevice> open(const std::string& file) const;
    /// What the name `stored` in the image `child` means. nullopt where it leads out of the root.
    std::optional<std::string> resolve(std::string_view stored, std::string_view child) const;
    /// The same for a data file, which lies beside its image: what name_inside_sr() accepts, and no other directory.
    std::optional<std::string> resolve_data_file(std::string_view stored, std::string_view image) const;

private:
    std::string path_;
    UniqueFd directory_;
};

/// Chains of XCP-ng are up to 30 long; what is longer than this is no chain that anybody made.
inline constexpr std::size_t longest_chain = 512;

/// Never throws on what the images hold. Throws what ChainRoot::open does for `file` itself.
OpenChain open_chain(const ChainRoot& root, const std::string& file, Format format);

/// `report` of the image `file`, which is the first layer of `chain`, completed by what its parents add: whether the
/// guest disk that it is the leaf of can be read.
void add_chain_findings(CheckReport& report, const OpenChain& chain, Format format);

/// An image file as a user names it.
struct NamedImage {
    std::string directory; ///< canonical
    std::string file;      ///< its last component
    Format format;
};
/// Throws NotFound, SystemError, or UsageError where the name tells no format.
NamedImage locate_image(const std::string& path);
/// Its name below `root`. Throws Refused where it does not lie there.
std::string file_below(const ChainRoot& root, const NamedImage& image);

} // namespace coppice
