#include "format/image.h"

#include "format/base/error.h"
#include "format/tail_space.h"
#include "format/target_space.h"

#include <stdexcept>

namespace coppice {

std::string_view to_string(Format format) {
    switch (format) {
    case Format::raw:
        return "raw";
    case Format::vhd:
        return "vhd";
    case Format::qcow2:
        return "qcow2";
    }
    return "";
}

std::string_view extension(Format format) {
    switch (format) {
    case Format::raw:
        return ".raw";
    case Format::vhd:
        return ".vhd";
    case Format::qcow2:
        return ".qcow2";
    }
    return "";
}

std::optional<Format> format_of_name(std::string_view file_name) {
    for (const Format format : {Format::raw, Format::vhd, Format::qcow2})
        if (file_name.ends_with(extension(format)) && file_name.size() > extension(format).size()) return format;
    return std::nullopt;
}

std::unique_ptr<const TargetSpace> Image::target_space() const {
    const Bytes used = physical_size();
    const Bytes tail = used > virtual_size() ? used - virtual_size() : 0_B;
    return std::make_unique<FlatSpace>(device().fixed_size() ? used : std::max(used, device().size()), tail);
}

std::unique_ptr<const TailSpace> Image::tail_space() const {
    return nullptr;
}

void Image::forget(const RangeList&, EditLog&) {
    throw std::logic_error{"this format does not forget a part"};
}

const BlockDevice& Image::data_device() const {
    if (data_file_) return *data_file_;
    if (const auto file = data_file()) throw Unsupported{name(), "its data file '" + *file + "' is not open"};
    return *device_;
}

void Image::read_compressed(const MapRun&, ByteRange, std::span<std::byte>) const {
    throw std::logic_error{"this format has no compressed runs"};
}

} // namespace coppice
