// The verdict on one image, taken from its own bytes only: parents are not opened.
#pragma once

#include "format/base/block_device.h"
#include "format/image.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

enum class Verdict {
    ok,
    leaks,       ///< consistent content; space is counted as used that nothing refers to
    corrupt,     ///< metadata contradicts itself
    unsupported, ///< must not be opened, or not be used for a merge, for the reason given
};

std::string_view to_string(Verdict verdict);

/// One observation. `code` is stable, lower case with dashes (for example "l2-entry-unaligned").
struct Finding {
    std::string code;
    std::optional<Bytes> offset; ///< place in the file
    std::string text;

    bool operator==(const Finding&) const = default;
};

struct CheckReport {
    Verdict verdict = Verdict::ok;
    bool readable = true;  ///< every guest byte of this layer can be told
    bool mergeable = true; ///< may take part in a merge, as source or target
    std::string reason;    ///< reason code (image-damaged, unsupported-feature, …); empty when ok
    std::vector<Finding> findings;
};

/// How far a check goes.
enum class CheckDepth {
    metadata, ///< everything but the content of clusters
    content,  ///< and every compressed cluster is decompressed, which takes as long as reading the image
};

/// Never throws on the image's content; SystemError where reading fails. Bounded memory: at most 128 MiB, and more than
/// one byte per 4 KiB of the file only for the reference counts of a QCOW2 image.
CheckReport check_image(const BlockDevice& device, Format format, CheckDepth depth = CheckDepth::content);

} // namespace coppice
