// sm's fair lock for LVM and device-mapper commands: a socket served first come, first served.
//
// Taking it is connecting and being told so; giving it back is closing. Source: sm 3.2.12, fairlock.py and fairlock.c.
#pragma once

#include "lvm/command.h"
#include "lvm/locks.h"
#include "lvm/pause.h"

namespace coppice::lvm {

class FairLock final : public CommandLock {
public:
    struct Place {
        std::string socket = "/run/fairlock/devicemapper";
        std::string service = "fairlock@devicemapper.service";
        std::string systemctl = "/usr/bin/systemctl";
        std::chrono::milliseconds limit{120'000}; ///< for its turn to come: others hold it for one command each
    };

    /// `runner` starts the service where nobody listens.
    FairLock(Place place, CommandRunner& runner, Pause pause)
        : place_{std::move(place)}, runner_{runner}, pause_{std::move(pause)} {}

    /// Where the directory of the socket does not exist, sm is not on this host and nobody else would take the lock:
    /// nothing is held then.
    std::unique_ptr<HeldLock> take() override;

private:
    void start_service();

    Place place_;
    CommandRunner& runner_;
    Pause pause_;
};

} // namespace coppice::lvm
