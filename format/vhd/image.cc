#include "format/vhd/image.h"

#include "format/base/error.h"
#include "format/vhd/dynamic_image.h"
#include "format/vhd/fixed_image.h"
#include "format/vhd/headers.h"

namespace coppice::vhd {

std::unique_ptr<Image> open(std::unique_ptr<BlockDevice> device) {
    Headers headers = read_headers(*device);
    if (headers.fixed()) return std::make_unique<FixedImage>(std::move(device), std::move(headers));
    return std::make_unique<DynamicImage>(std::move(device), std::move(headers));
}

} // namespace coppice::vhd
