#include "lvm/extent_map.h"

#include "format/base/error.h"
#include "lvm/names.h"

namespace coppice::lvm {

ExtentMap ExtentMap::of(const VgReport& report, const LvRow& lv) {
    ExtentMap map;
    if (lv.kind != '-')
        throw Unsupported{qualified(report.name, lv.name), std::string{"it is not a plain LV, but of kind "} + lv.kind};
    for (const Segment& segment : lv.segments) {
        if (segment.type != "linear")
            throw Unsupported{qualified(report.name, lv.name), "it has a segment of type " + segment.type};
        if (!segment.place)
            throw Unsupported{qualified(report.name, lv.name),
                              "a segment lies on " + segment.devices + ", which is not a PV that is there"};
        const auto& [pv, first] = *segment.place;
        const Piece piece{map.size_, report.to_bytes(segment.length), pv,
                          report.pvs[pv].data_start + report.to_bytes(first)};
        map.size_ += piece.length;
        Piece* const last = map.pieces_.empty() ? nullptr : &map.pieces_.back();
        if (last != nullptr && last->pv == pv && last->place + last->length == piece.place)
            last->length += piece.length;
        else
            map.pieces_.push_back(piece);
    }
    return map;
}

std::vector<Piece> ExtentMap::locate(ByteRange range) const {
    if (range.end > size_) throw std::logic_error{"read behind the end of an LV"};
    std::vector<Piece> result;
    auto piece = std::ranges::upper_bound(pieces_, range.begin, {}, &Piece::offset);
    if (piece != pieces_.begin()) --piece;
    for (; piece != pieces_.end() && piece->offset < range.end; ++piece) {
        const ByteRange part = intersection(ByteRange::at(piece->offset, piece->length), range);
        if (!part.empty())
            result.push_back({part.begin, part.length(), piece->pv, piece->place + (part.begin - piece->offset)});
    }
    return result;
}

} // namespace coppice::lvm
