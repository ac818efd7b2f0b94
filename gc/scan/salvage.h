// What can still be said of an image whose header does not parse: which other images it may depend on.
#pragma once

#include "format/base/block_device.h"
#include "format/image.h"

#include <set>
#include <string>

namespace coppice {

struct Salvage {
    /// Uuids whose text or bytes stand in the file where names of parents would.
    std::set<std::string> mentioned;
    /// The file is what is left of an image that has, or may have had, a parent. False for what never was an image, and
    /// for an image that says that it is a root.
    bool may_have_parent = false;
    /// Nothing but zeros where every image has its headers, or cut off within them: whatever it was, it is lost.
    bool blank = false;
};

/// Those of `uuids` ("OLD_" or not) whose text stands in `bytes`, as ASCII or UTF-16 of either byte order.
std::set<std::string> mentioned_uuids(std::span<const std::byte> bytes, const std::set<std::string>& uuids);

/// Looks through the first 256 KiB and the end of the file. Throws SystemError where reading fails.
Salvage salvage(const BlockDevice& device, Format format, const std::set<std::string>& uuids);

} // namespace coppice
