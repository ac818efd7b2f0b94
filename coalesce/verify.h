// Proof, before anything is relinked or deleted, that a merge has left nothing behind.
#pragma once

#include "coalesce/merge_pass.h"

#include <stop_token>

namespace coppice {

enum class VerifyDepth {
    metadata, ///< the target's tables are sound and map everything that the sources map
    data,     ///< and every byte of it is read back and compared
};

/// `target` is the image opened anew after the pass. Throws CorruptImage naming the first place that is missing or
/// differs. `original` gives the pass with its target as it was; only sources, beneath, end and rank are used.
void verify_merge(const MergePass& original, const Image& target, VerifyDepth depth, std::stop_token stop);

} // namespace coppice
