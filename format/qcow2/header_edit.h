// Changes of the first cluster that never leave a header in between: a new parent, the hidden flag.
//
// What a change adds is written first, to places that the header in force does not use; the switch is then a write of
// one sector, almost always the first. Where no such order exists (a name too long for what is free beside the old one
// in a tiny cluster), the edit has more than one step that a reader could see half done; as every edit is recorded
// before it is applied, a crash is then repaired by applying it again. Extensions and fields that are not understood
// are kept. Source: the QCOW2 specification, "Header extensions"; a gap between end mark and name is accepted by
// QEMU 7.2.
#pragma once

#include "format/image.h"
#include "format/qcow2/header.h"

namespace coppice::qcow2 {

/// Makes `parent` the parent, or with nullopt none. Throws Unsupported where the name does not fit.
HeaderEdit relink_edit(const BlockDevice& device, const Header& header, const std::optional<NewParent>& parent);

/// Sets the flag of XCP-ng's storage manager; an image without its extension is visible, and gets it to become hidden.
HeaderEdit hidden_edit(const BlockDevice& device, const Header& header, bool hidden);

} // namespace coppice::qcow2
