// Proof, before anything is relinked or deleted, that a merge has left nothing behind.
#pragma once

#include "coalesce/merge_pass.h"

#include <optional>
#include <stop_token>

namespace coppice {

enum class VerifyDepth {
    metadata, ///< the target's tables are sound and map everything that the sources map
    data,     ///< and every byte of it is read back and compared
};

/// The first guest byte that the sources of `pass` map and `target` does not; nullopt when nothing is missing. Of the
/// pass only sources, beneath.after, only and end count.
std::optional<Bytes> first_missing(const MergePass& pass, const Image& target, std::stop_token stop);

/// The first guest byte that reads differently from `target` than from the sources that are newer than it; reads all
/// their data. Nullopt also where they are older: what they say may be masked.
std::optional<Bytes> first_difference(const MergePass& pass, const Image& target, std::stop_token stop);

/// `target` is the image opened anew after the pass. Throws CorruptImage naming the first place that is missing or
/// differs. `original` gives the pass with its target as it was; only sources, beneath, only, end and rank are used.
void verify_merge(const MergePass& original, const Image& target, VerifyDepth depth, std::stop_token stop);

} // namespace coppice
