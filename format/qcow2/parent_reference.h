// The parent as an image records it: a name and the name of a format.
#pragma once

#include "format/image.h"
#include "format/qcow2/header.h"

namespace coppice::qcow2 {

/// nullopt for a root. Throws Unsupported where a format is recorded that is not ours.
std::optional<ParentReference> parent_reference(const Header& header, const std::string& image);

/// As recorded in the backing format extension.
std::string_view backing_format_name(Format format);

} // namespace coppice::qcow2
