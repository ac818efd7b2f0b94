// What has to be true of an image before it is written to, and what has to be done to it.
//
// Made: nothing is written; an image that is not for us, or whose counts lie, is refused. Carried out: feature bits
// that a writer has to clear are cleared, durably and first; bitmaps go, because they would no longer tell the truth;
// and clusters that are counted but not used, as an interrupted merge leaves them, are given back.
#pragma once

#include "format/base/header_edit.h"
#include "format/qcow2/count_audit.h"

namespace coppice::qcow2 {

class Preparation {
public:
    Preparation(BlockDevice& device, EditLog& log);

    /// The header as it is afterwards. Durable on return.
    Header carry_out();

private:
    BlockDevice& device_;
    EditLog& log_;
    Header header_;
    CountAudit audit_;
};

} // namespace coppice::qcow2
