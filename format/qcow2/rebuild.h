// Brings stored reference counts in line with the references, as an audit found them.
#pragma once

#include "format/qcow2/count_audit.h"

namespace coppice::qcow2 {

/// Durable on return. Raising a count is only done while the header carries the dirty bit, which says that counts are
/// not to be relied on; blocks that are missing for it are appended. Throws NoSpace or Unsupported where there is no
/// room for them.
void correct_counts(BlockDevice& device, const Header& header, const CountAudit& audit);

} // namespace coppice::qcow2
