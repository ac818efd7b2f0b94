#include "coalesce/inflated_size.h"

#include "coalesce/volume_format.h"
#include "lvm/thick_space.h"

#include <algorithm>

namespace coppice {

Bytes inflated_size(Format format, const TargetSpace& space, Bytes virtual_size) {
    return std::max(lvm::sm::full(volume_format(format), virtual_size), space.end_when_full(virtual_size));
}

} // namespace coppice
