// Image formats as the arithmetic of volumes names them.
#pragma once

#include "format/image.h"
#include "lvm/thick_space.h"

namespace coppice {

inline lvm::VolumeFormat volume_format(Format format) {
    switch (format) {
    case Format::vhd:
        return lvm::VolumeFormat::vhd;
    case Format::qcow2:
        return lvm::VolumeFormat::qcow2;
    case Format::raw:
        break;
    }
    return lvm::VolumeFormat::raw;
}

} // namespace coppice
