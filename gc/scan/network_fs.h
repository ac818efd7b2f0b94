// Whether a directory lies on a file system that other hosts may use too, so that locks and processes of this host tell
// only half of the truth.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace coppice {

/// The type of the file system with the kernel's device number `device`, from the text of /proc/self/mountinfo.
std::optional<std::string> mounted_type(std::string_view mountinfo, std::uint64_t device);

/// By the kernel's name of the type. What is not known to be local may be shared; so may everything that a program of
/// its own serves ("fuse.…").
bool is_shared_type(std::string_view type);

/// Throws SystemError where the directory cannot be looked at.
bool other_hosts_may_use(const std::string& directory);

} // namespace coppice
