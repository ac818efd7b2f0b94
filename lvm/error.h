// What ends an operation on a volume group, besides what format/base/error.h has.
#pragma once

#include "format/base/error.h"
#include "lvm/command.h"

#include <cstdint>

namespace coppice::lvm {

/// A command ended with an error, and what it should have done is not done.
class CommandFailed : public Error {
public:
    CommandFailed(const std::string& attempt, const std::string& object, const Command& command,
                  const CommandResult& result);

    int status() const { return status_; }

private:
    int status_;
};

/// A command that only reads took too long and was killed; trying later may be right.
class CommandTimedOut : public Error {
public:
    explicit CommandTimedOut(const Command& command);
};

/// What LVM or device-mapper reported is not complete or contradicts itself. Nothing may be concluded from it.
class BadReport : public Error {
public:
    BadReport(const std::string& group, const std::string& place, const std::string& cause);
};

/// The volume group is not what it was any more: what was read through its extent map may be of another volume.
class GroupChanged : public Error {
public:
    GroupChanged(const std::string& group, std::uint64_t expected, std::uint64_t found);
    GroupChanged(const std::string& group, const std::string& how);
};

/// The line of a program's messages that says why it failed, fit for a log.
std::string telling_line(const CommandResult& result);

/// Signs of reading metadata while another host writes them; reading again is right.
/// Source: sm 3.2.12 retries "Incorrect checksum in metadata area header"; LVM 2.03.16 has "Checksum error" for the
/// text.
bool is_metadata_in_flux(const CommandResult& result);

} // namespace coppice::lvm
