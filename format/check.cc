#include "format/check.h"

#include "format/qcow2/check.h"
#include "format/raw/image.h"
#include "format/vhd/check.h"

namespace coppice {

std::string_view to_string(Verdict verdict) {
    switch (verdict) {
    case Verdict::ok:
        return "ok";
    case Verdict::leaks:
        return "leaks";
    case Verdict::corrupt:
        return "corrupt";
    case Verdict::unsupported:
        return "unsupported";
    }
    return "";
}

CheckReport check_image(const BlockDevice& device, Format format, CheckDepth depth) {
    switch (format) {
    case Format::vhd:
        return vhd::check(device);
    case Format::qcow2:
        return qcow2::check(device, depth);
    case Format::raw:
        break;
    }
    return raw::check(device);
}

} // namespace coppice
