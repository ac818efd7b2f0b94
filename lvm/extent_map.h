// Where the bytes of an LV lie on the PVs of its group, as of one report. Only worth something as long as the sequence
// number of the group is that of the report: see inactive_reader.h.
#pragma once

#include "format/base/byte_range.h"
#include "lvm/report.h"

namespace coppice::lvm {

/// A stretch of an LV that lies in one piece on a PV.
struct Piece {
    Bytes offset; ///< in the LV
    Bytes length;
    std::size_t pv = 0; ///< index into VgReport::pvs
    Bytes place;        ///< on the PV
};

class ExtentMap {
public:
    /// Throws Unsupported with the reason: a segment that is not linear, or that lies on a missing PV.
    static ExtentMap of(const VgReport& report, const LvRow& lv);

    const std::vector<Piece>& pieces() const { return pieces_; }
    Bytes size() const { return size_; }
    /// What `range` consists of, in order. `range` lies below size().
    std::vector<Piece> locate(ByteRange range) const;

private:
    std::vector<Piece> pieces_; ///< gapless from byte 0
    Bytes size_;
};

} // namespace coppice::lvm
