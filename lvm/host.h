// Where a host keeps LVM: programs, configurations, device nodes. Values, so that tests have places of their own.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace coppice::lvm {

struct Host {
    std::string programs = "/sbin"; ///< lvm and its names, dmsetup
    std::string devices = "/dev";   ///< <devices>/<VG>/<LV> and <devices>/mapper/<name>

    /// LVM_SYSTEM_DIR of commands that read, and of those that change or activate. Empty: LVM's default. XCP-ng's
    /// default configuration refuses changes of metadata; the SR master uses its other copy.
    std::string reading_configuration;
    std::string changing_configuration;
    /// For --config of every LVM command, such as a filter that lets it open the SR's own PVs only; empty: none.
    std::string settings;
    /// What removing and shrinking gives back is discarded, so that the storage below may use it. What was there is
    /// gone for good then, also for who would restore the metadata.
    bool discards = false;
    std::vector<std::string> environment; ///< "NAME=value", such as LVM_DEVICE

    std::chrono::milliseconds reading_limit{120'000}; ///< killed behind it
    std::chrono::milliseconds changing_limit{15'000}; ///< said behind it. Source: sm 3.2.12, lvutil.py

    /// /etc/lvm/master is used for changes where it exists.
    static Host of_this_host();
};

} // namespace coppice::lvm
