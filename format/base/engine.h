// The ways to move bytes between two devices, of which the fastest that storage and kernel offer is taken.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace coppice {

enum class Engine {
    automatic, ///< `share`, and for the rest the first of `uring`, `threads` that the kernel offers
    share,     ///< FICLONERANGE where both sides are aligned and the file system can, the rest as `plain`
    uring,     ///< copies, many requests in flight: io_uring
    threads,   ///< copies, many requests in flight: a few threads with preadv and pwritev
    plain,     ///< copies, one request at a time
};

std::string_view to_string(Engine engine);
/// auto, share, uring, threads, plain; nullopt for everything else.
std::optional<Engine> engine_from(std::string_view name);
/// "auto|share|…", for help and messages.
std::string engine_names();

} // namespace coppice
