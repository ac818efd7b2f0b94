#include "format/qcow2/parent_reference.h"

#include "format/base/error.h"

namespace coppice::qcow2 {
namespace {

std::optional<Format> format_named(const std::string& image, const std::optional<std::string>& name) {
    if (!name || name->empty()) return std::nullopt;
    if (*name == "qcow2") return Format::qcow2;
    // The protocol drivers were accepted in place of "raw" by early qemu-img.
    if (*name == "raw" || *name == "file" || *name == "host_device") return Format::raw;
    if (*name == "vpc") return Format::vhd;
    throw Unsupported{image, "parent of format \"" + *name + "\""};
}

} // namespace

std::optional<ParentReference> parent_reference(const Header& header, const std::string& image) {
    if (!header.backing_file) return std::nullopt;
    return ParentReference{{*header.backing_file}, format_named(image, header.backing_format()), {}};
}

std::string_view backing_format_name(Format format) {
    switch (format) {
    case Format::raw:
        return "raw";
    case Format::vhd:
        return "vpc";
    case Format::qcow2:
        return "qcow2";
    }
    return "";
}

} // namespace coppice::qcow2
