// Whether the images that a merge was verified over are still those that its end is about to link and delete.
#pragma once

#include "coalesce/plan.h"
#include "journal/journal.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice {

/// Why the merge recorded with `sources` (of the emptied images and of the target) must not be completed over the SR as
/// it is; nullopt where it may. Only names, links and states are looked at, which costs no I/O. A leaf whose name was
/// taken over already is complete, and not asked about here.
std::optional<std::string> changed_since(const Step& step, const std::vector<journal::Fingerprint>& sources,
                                         Bytes cursor, const SrTree& tree);

/// Whether the target, as it is `now`, can be the one that the operation poured data into: the same file, and written
/// to since the operation began. It is not after a snapshot has given its name to a new leaf, nor after a backup or an
/// older state of the storage has been brought back.
bool target_may_hold_data(const std::vector<journal::Fingerprint>& recorded, Bytes cursor,
                          const journal::Fingerprint& now);

} // namespace coppice
