// Which LVs this program keeps active, so that the next run can let go of what a killed one has left: without this, a
// count of ours would keep an LV active until the SR is detached.
//
// A claim is a file that its process holds a lock on: without the lock, the process is gone. It is written behind the
// count and removed before it, so that a kill in between leaves a count too high, never one too low.
#pragma once

#include "format/base/unique_fd.h"
#include "lvm/ref_counts.h"

#include <vector>

namespace coppice::lvm {

class Claim {
public:
    Claim() = default;
    Claim(Claim&&) noexcept = default;
    Claim& operator=(Claim&&) noexcept = default;
    /// Stays where a destructor comes before remove(): whoever finds it without the lock lets go of the LV.
    ~Claim() = default;
    /// Throws SystemError.
    void remove();

private:
    friend class Claims;
    std::string path_;
    UniqueFd lock_;
};

struct StaleClaim {
    std::string lv;
    std::string uuid;
    CountLife life;
    Claim claim; ///< now ours
};

class Claims {
public:
    /// One directory for each SR, below a run directory that does not survive a reboot. Empty: nothing is written down.
    explicit Claims(std::string directory) : directory_{std::move(directory)} {}

    Claim make(const std::string& lv, const std::string& uuid, CountLife life) const;
    /// Of processes that are gone. What cannot be understood is removed and logged.
    std::vector<StaleClaim> stale() const;

private:
    std::string directory_;
};

} // namespace coppice::lvm
