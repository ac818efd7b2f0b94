// The trees of the SR as they are now, asked again before anything that depends on them.
#pragma once

#include "coalesce/sr_tree.h"

namespace coppice {

class TreeSource {
public:
    virtual ~TreeSource() = default;
    virtual SrTree current() = 0;
};

} // namespace coppice
