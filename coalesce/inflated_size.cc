#include "coalesce/inflated_size.h"

#include "coalesce/volume_format.h"
#include "lvm/thick_space.h"

#include <algorithm>

namespace coppice {

Bytes end_when_full(const TargetSpace& space, Bytes virtual_size) {
    MergeInput all;
    all.virtual_size = virtual_size;
    all.data = {{0_B, virtual_size}};
    return space.end_after(all);
}

Bytes inflated_size(Format format, const TargetSpace& space, Bytes virtual_size) {
    return std::max(lvm::sm::full(volume_format(format), virtual_size), end_when_full(space, virtual_size));
}

} // namespace coppice
