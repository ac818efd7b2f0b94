// How a QCOW2 image gets shorter, the last clusters of the file first.
//
// An L2 table that stands at the end goes together with everything that it maps, wherever that is; refcount blocks go
// when they count nothing any more. Header, L1 table, refcount table, and what counts or describes what stays do not
// move: behind them the image cannot end earlier. Bitmaps are not counted, because who writes to an image drops them.
#pragma once

#include "format/qcow2/layer.h"
#include "format/tail_space.h"

#include <memory>

namespace coppice::qcow2 {

/// Reads every L2 table. Throws CorruptImage where tables point at impossible places.
std::unique_ptr<const TailSpace> tail_space(const Layer& layer);

} // namespace coppice::qcow2
