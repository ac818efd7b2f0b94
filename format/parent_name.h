// Turns the names that images record for their parents into the names of files inside one SR.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace coppice {

/// The bare file name that `stored` means inside the SR directory `directory` (its path, which may be empty when the SR
/// is not a directory), or nullopt when it leads out of the SR and must not be opened.
///
/// Accepted: a bare name, "./name", and absolute paths into the SR: "/var/run/sr-mount/<any>/name",
/// "/run/sr-mount/<any>/name" (sm 3.2.12 writes them on relink, and a copied directory still holds them) and
/// `directory`/name. Refused: everything with another slash, "..", an empty name, a colon before the first slash
/// ("json:", "nbd:", "file:").
std::optional<std::string> name_inside_sr(std::string_view stored, std::string_view directory);

} // namespace coppice
