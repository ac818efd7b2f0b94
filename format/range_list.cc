#include "format/range_list.h"

#include <algorithm>

namespace coppice {

void add_range(RangeList& list, ByteRange range) {
    if (range.empty()) return;
    if (!list.empty() && range.begin <= list.back().end)
        list.back().end = std::max(list.back().end, range.end);
    else
        list.push_back(range);
}

RangeList united(const RangeList& a, const RangeList& b) {
    RangeList result;
    for (std::size_t i = 0, j = 0; i < a.size() || j < b.size();) {
        const bool first = j == b.size() || (i < a.size() && a[i].begin <= b[j].begin);
        add_range(result, first ? a[i++] : b[j++]);
    }
    return result;
}

RangeList intersected(const RangeList& a, const RangeList& b) {
    RangeList result;
    for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
        add_range(result, intersection(a[i], b[j]));
        if (a[i].end < b[j].end)
            ++i;
        else
            ++j;
    }
    return result;
}

RangeList subtracted(const RangeList& list, const RangeList& by) {
    RangeList result;
    std::size_t cut = 0;
    for (const ByteRange& range : list) {
        Bytes at = range.begin;
        while (cut < by.size() && by[cut].end <= at)
            ++cut;
        for (std::size_t next = cut; next < by.size() && by[next].begin < range.end; ++next) {
            if (at < by[next].begin) add_range(result, {at, by[next].begin});
            at = std::max(at, by[next].end);
        }
        if (at < range.end) add_range(result, {at, range.end});
    }
    return result;
}

RangeList rounded_out(const RangeList& list, Bytes unit) {
    RangeList result;
    for (const ByteRange& range : list)
        add_range(result, {round_down(range.begin, unit), round_up(range.end, unit)});
    return result;
}

std::uint64_t count_units(const RangeList& list, Bytes unit) {
    std::uint64_t count = 0;
    for (const ByteRange& range : list)
        count += range.length() / unit;
    return count;
}

} // namespace coppice
