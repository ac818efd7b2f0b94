// What deleting a VDI would give back to the SR, once everything that becomes possible by it has been merged. Pure.
#pragma once

#include "coalesce/plan.h"

#include <map>
#include <string>

namespace coppice {

/// Bytes that the SR has free in the end and would not have without the deletion: the image itself, hidden ancestors
/// that nobody needs any more, and the merges that it stood in the way of; what merging frees all the same does not
/// count. For every visible VDI of `tree` without children; `facts` has an entry for every sound image of a chain.
///
/// Nothing is taken for in use, and space for as much as needed: this is about what is possible at all.
std::map<std::string, Bytes> reclaimable(const SrTree& tree, const std::map<std::string, LayerFacts>& facts);

} // namespace coppice
