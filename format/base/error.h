// What ends an operation. A message reads "attempt: object: place: cause"; it is logged once, where the decision is
// made.
#pragma once

#include "format/base/units.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

namespace coppice {

/// Base of everything that may fail in the outside world. Mistakes of ours are std::logic_error.
class Error : public std::runtime_error {
public:
    using runtime_error::runtime_error;
};

/// A call to the kernel failed.
class SystemError : public Error {
public:
    SystemError(const std::string& attempt, const std::string& object, std::error_code cause);
    /// With `errno` as it stands.
    static SystemError from_errno(const std::string& attempt, const std::string& object);

    std::error_code cause() const { return cause_; }

private:
    std::error_code cause_;
};

/// Bytes of an image contradict its format. Nothing may be written to it.
class CorruptImage : public Error {
public:
    CorruptImage(const std::string& image, const std::string& expectation);
    CorruptImage(const std::string& image, Bytes offset, const std::string& expectation);
};

/// The image may be valid, but it is not for us: an unknown incompatible feature, encryption, an external data file.
class Unsupported : public Error {
public:
    Unsupported(const std::string& object, const std::string& reason);
};

/// Somebody else holds it; trying later is right.
class Busy : public Error {
public:
    Busy(const std::string& object, const std::string& holder);
};

/// An operation does not fit.
class NoSpace : public Error {
public:
    NoSpace(const std::string& object, Bytes needed, Bytes available);

    Bytes needed() const { return needed_; }
    Bytes available() const { return available_; }

private:
    Bytes needed_;
    Bytes available_;
};

/// The object named by the user or by another object does not exist.
class NotFound : public Error {
public:
    NotFound(const std::string& object, const std::string& where);
};

/// Refused because going on could harm data. `code` is a reason code of docs/man/coppice.8.md.
class Refused : public Error {
public:
    Refused(std::string code, const std::string& object, const std::string& text);

    const std::string& code() const { return code_; }

private:
    std::string code_;
};

/// Deliberately not an Error: catch (const Error&) must not swallow a stop.
class StopRequested : public std::exception {
public:
    const char* what() const noexcept override { return "stop requested"; }
};

} // namespace coppice
