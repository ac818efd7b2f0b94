#include "format/base/error.h"

#include <cerrno>

namespace coppice {

SystemError::SystemError(const std::string& attempt, const std::string& object, std::error_code cause)
    : Error{attempt + ": " + object + ": " + cause.message()}, cause_{cause} {}

SystemError SystemError::from_errno(const std::string& attempt, const std::string& object) {
    return SystemError{attempt, object, std::error_code{errno, std::generic_category()}};
}

CorruptImage::CorruptImage(const std::string& image, const std::string& expectation)
    : Error{"damaged image: " + image + ": " + expectation} {}

CorruptImage::CorruptImage(const std::string& image, Bytes offset, const std::string& expectation)
    : Error{"damaged image: " + image + ": at byte " + std::to_string(offset.count()) + ": " + expectation} {}

Unsupported::Unsupported(const std::string& object, const std::string& reason)
    : Error{"unsupported: " + object + ": " + reason} {}

Busy::Busy(const std::string& object, const std::string& holder) : Error{"busy: " + object + ": " + holder} {}

NoSpace::NoSpace(const std::string& object, Bytes needed, Bytes available)
    : Error{"not enough space: " + object + ": needs " + std::to_string(needed.count()) + " bytes, " +
            std::to_string(available.count()) + " are available"},
      needed_{needed}, available_{available} {}

NotFound::NotFound(const std::string& object, const std::string& where)
    : Error{"not found: " + object + ": " + where} {}

Refused::Refused(std::string code, const std::string& object, const std::string& text)
    : Error{"refused (" + code + "): " + object + ": " + text}, code_{std::move(code)} {}

} // namespace coppice
