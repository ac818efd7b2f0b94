// What all fuzz targets of image formats do.
#pragma once

#include "format/image.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace coppice::test {

/// Ends the process, which the fuzzer takes as a finding, where something does not hold.
inline void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "\n%s\n", what);
    std::abort();
}

/// Maps a bounded number of bounded stretches of the disk and calls `visit` with each run.
template <class Visit>
void map_some(const Image& image, Visit visit) {
    constexpr int most_windows = 64;
    constexpr Bytes window = 16_MiB;
    auto at = image.next_mapped(0_B);
    for (int count = 0; at && count < most_windows; ++count) {
        const Bytes end = std::min(image.virtual_size(), *at + window);
        Bytes before = *at;
        for (const MapRun& run : image.map({*at, end})) {
            require(before <= run.guest.begin && run.guest.begin < run.guest.end && run.guest.end <= end,
                    "runs ascend inside the window");
            before = run.guest.end;
            visit(run);
        }
        if (end >= image.virtual_size()) break;
        at = image.next_mapped(end);
    }
}

} // namespace coppice::test
