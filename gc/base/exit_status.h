// The exit status of every verb, and how an error becomes one. Numbers are promised in docs/man/coppice.8.md.
#pragma once

#include "format/base/error.h"

#include <exception>
#include <string>

namespace coppice {

enum class ExitStatus {
    done = 0, ///< also when there was nothing to do
    failed = 1,
    usage = 2,
    damage_found = 3,
    refused = 4, ///< for safety
    not_found = 5,
    busy = 6, ///< or held: try later
    no_space = 7,
    unreachable = 8, ///< the service or XAPI
};

/// The command line makes no sense. Not an Error: nothing was attempted.
class UsageError : public std::runtime_error {
public:
    using runtime_error::runtime_error;
};

/// What a failure looks like to a script.
struct Failure {
    ExitStatus status;
    std::string code; ///< a reason code, or one of the general ones: usage, not-found, failed
    std::string text;
    std::string object; ///< what it is about; empty where the error does not say
};

/// Thrown by a verb that knows exactly what to answer.
class CommandFailed : public Error {
public:
    explicit CommandFailed(Failure failure) : Error{failure.text}, failure_{std::move(failure)} {}
    const Failure& failure() const { return failure_; }

private:
    Failure failure_;
};

/// `error` as its most specific kind tells; `object` where the error itself does not name one.
Failure failure_of(const std::exception& error, const std::string& object);

} // namespace coppice
