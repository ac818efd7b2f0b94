#include "gc/base/exit_status.h"

#include <cerrno>

namespace coppice {
namespace {

Failure failure_of(const SystemError& error, const std::string& object) {
    switch (error.cause().value()) {
    case ENOSPC:
    case EDQUOT:
        return {ExitStatus::no_space, "no-space", error.what(), object};
    case EAGAIN:
    case EBUSY:
    case ETXTBSY:
        return {ExitStatus::busy, "retry-later", error.what(), object};
    default:
        return {ExitStatus::failed, "failed", error.what(), object};
    }
}

} // namespace

Failure failure_of(const std::exception& error, const std::string& object) {
    if (const auto* own = dynamic_cast<const CommandFailed*>(&error)) {
        Failure failure = own->failure();
        if (failure.object.empty()) failure.object = object;
        return failure;
    }
    if (dynamic_cast<const UsageError*>(&error) != nullptr) return {ExitStatus::usage, "usage", error.what(), object};
    if (const auto* refused = dynamic_cast<const Refused*>(&error))
        return {ExitStatus::refused, refused->code(), error.what(), object};
    if (dynamic_cast<const Busy*>(&error) != nullptr) return {ExitStatus::busy, "held", error.what(), object};
    if (dynamic_cast<const NoSpace*>(&error) != nullptr)
        return {ExitStatus::no_space, "no-space", error.what(), object};
    if (dynamic_cast<const NotFound*>(&error) != nullptr)
        return {ExitStatus::not_found, "not-found", error.what(), object};
    if (dynamic_cast<const CorruptImage*>(&error) != nullptr)
        return {ExitStatus::damage_found, "image-damaged", error.what(), object};
    if (dynamic_cast<const Unsupported*>(&error) != nullptr)
        return {ExitStatus::failed, "unsupported-feature", error.what(), object};
    if (const auto* system = dynamic_cast<const SystemError*>(&error)) return failure_of(*system, object);
    if (dynamic_cast<const StopRequested*>(&error) != nullptr)
        return {ExitStatus::busy, "retry-later", "stopped on request; what was done is kept and will be continued",
                object};
    if (dynamic_cast<const Error*>(&error) != nullptr) return {ExitStatus::failed, "failed", error.what(), object};
    return {ExitStatus::failed, "internal", std::string{"internal error: "} + error.what(), object};
}

} // namespace coppice
