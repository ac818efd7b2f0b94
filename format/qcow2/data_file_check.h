// What has to be true of L2 entries whose data stands in another file: each names the place that the guest sees, and
// carries the COPIED flag, although nobody counts the clusters of that file. The file itself is not opened.
#pragma once

#include "format/qcow2/findings.h"
#include "format/qcow2/layer.h"

namespace coppice::qcow2 {

/// Reads each active L2 table once. Adds nothing for an image without a data file.
void check_data_places(const Layer& layer, Findings& findings);

} // namespace coppice::qcow2
