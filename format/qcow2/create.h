// Makes empty QCOW2 images, for tests and demonstrations: what `qemu-img create` makes, without preallocation.
#pragma once

#include "format/image.h"

#include <optional>
#include <string>

namespace coppice::qcow2 {

struct CreateOptions {
    Bytes size; ///< a multiple of 512
    unsigned version = 3;
    unsigned cluster_bits = 16;
    unsigned refcount_order = 4; ///< version 2 has only this
    bool extended_l2 = false;
    bool zstd = false;
    std::optional<std::string> backing_name;
    std::optional<Format>
        backing_format;         ///< of the parent; a name without it makes an image that is not fit for a merge
    std::optional<bool> hidden; ///< set: with the extension of XCP-ng's storage manager, as its last one
};

/// Overwrites whatever stands in `device`, which is a file of any length or a block device that is large enough for the
/// tables. Durable when it returns. Throws Unsupported where the format does not allow the options.
void create(BlockDevice& device, const CreateOptions& options);

} // namespace coppice::qcow2
