#include "format/image.h"
#include "format/qcow2/image.h"
#include "format/raw/image.h"
#include "format/vhd/image.h"

namespace coppice {

std::unique_ptr<Image> open_image(std::unique_ptr<BlockDevice> device, Format format) {
    switch (format) {
    case Format::vhd:
        return vhd::open(std::move(device));
    case Format::qcow2:
        return qcow2::open(std::move(device));
    case Format::raw:
        break;
    }
    return raw::open(std::move(device));
}

} // namespace coppice
