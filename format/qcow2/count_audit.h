// Whether the stored reference counts of an image may be relied on for writing, and which of them have to be corrected.
#pragma once

#include "format/qcow2/header.h"
#include "format/qcow2/refcounts.h"

#include <vector>

namespace coppice::qcow2 {

/// Clusters that shall get another count.
struct CountCorrection {
    ClusterRun clusters;
    std::uint64_t count = 0;
};

struct CountAudit {
    std::vector<CountCorrection> corrections; ///< ascending
    ClusterNumber end;                        ///< behind everything that is counted or referred to
};

/// Walks the whole image. Counts that are too high (an interrupted merge leaves such leaks) are corrected as far as no
/// COPIED flag depends on them. Throws CorruptImage where structures are damaged or counts are too low; in an image
/// with the dirty bit, counts that are too low are corrected as well. Throws Unsupported where entries share plain
/// clusters.
CountAudit audit_counts(const BlockDevice& device);

} // namespace coppice::qcow2
