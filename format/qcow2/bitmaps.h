// Dirty bitmaps of an image: a merge makes them untrue, so they go.
#pragma once

#include "format/base/header_edit.h"
#include "format/qcow2/header.h"

namespace coppice::qcow2 {

/// Clears all autoclear bits and removes the bitmaps extension, where there is one. The clusters of the bitmaps remain
/// counted. One write of the first sector where the extensions allow that; else the bits go first, and the change of
/// the extensions has to be recorded before it is made.
HeaderEdit autoclear_edit(const BlockDevice& device, const Header& header);

} // namespace coppice::qcow2
