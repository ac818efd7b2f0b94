#include "gc/volumes/volume_host.h"

#include "format/base/error.h"
#include "gc/sm/sm_gate.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace coppice {
namespace {

class HeldSmLock final : public lvm::HeldLock {
public:
    explicit HeldSmLock(SmLock lock) : lock_{std::move(lock)} {}

private:
    SmLock lock_;
};

class NothingHeld final : public lvm::HeldLock {};

lvm::Host this_host(bool discards) {
    lvm::Host host = lvm::Host::of_this_host();
    host.discards = discards;
    // What the test machine has in place of dom0's configuration; LVM itself obeys it, too.
    if (const char* directory = std::getenv("LVM_SYSTEM_DIR");
        directory != nullptr && host.changing_configuration.empty())
        host.reading_configuration = host.changing_configuration = directory;
    for (const char* name : {"DM_DISABLE_UDEV", "LVM_DEVICE"})
        if (const char* value = std::getenv(name); value != nullptr)
            host.environment.push_back(std::string{name} + "=" + value);
    return host;
}

std::string first_line(const std::filesystem::path& path) {
    std::ifstream file{path};
    std::string line;
    std::getline(file, line);
    return line;
}

bool is_local_device(const std::filesystem::path& device) {
    namespace fs = std::filesystem;
    const std::string path = fs::canonical(device).string();
    // Of a partition, too, the path leads through the bus of its disk.
    constexpr std::array shared{"/session", "/rport-", "/nbd", "/rbd", "/drbd"};
    for (const char* word : shared)
        if (path.find(word) != std::string::npos) return false;
    if (first_line(device / "dm/uuid").starts_with("mpath-")) return false;
    if (fs::exists(device / "slaves"))
        for (const auto& slave : fs::directory_iterator{device / "slaves"})
            if (!is_local_device(slave.path())) return false;
    return true;
}

} // namespace

std::unique_ptr<lvm::HeldLock> SmNamedLocks::take(const std::string& space, const std::string& name) {
    if (!locks_.present()) return std::make_unique<NothingHeld>();
    SmGate::Patience patience;
    patience.whole = patience_;
    return std::make_unique<HeldSmLock>(take_patiently(locks_, space, name, patience, {}));
}

VolumeHost::VolumeHost(const std::string& group, const std::string& sr_uuid, const std::string& run_dir, bool discards)
    : fair_lock_{lvm::FairLock::Place{}, runner_, lvm::real_pause()},
      tool_{this_host(discards), runner_, fair_lock_, lvm::real_pause()}, group_{tool_, group}, devices_{tool_},
      sm_locks_{SmDirectories::of_this_host().locks}, locks_{sm_locks_, std::chrono::minutes{1}},
      activator_{group_,
                 devices_,
                 locks_,
                 {.space = "lvm-" + (sr_uuid.empty() ? group : sr_uuid),
                  .claims = run_dir + "/volumes-" + (sr_uuid.empty() ? group : sr_uuid)}} {}

std::string VolumeHost::node(const std::string& volume) const {
    return tool_.host().devices + '/' + group_.name() + '/' + volume;
}

std::string VolumeHost::mapper_node(const std::string& device) const {
    return tool_.host().devices + "/mapper/" + device;
}

bool other_hosts_may_use(const lvm::VgReport& report, const std::string& sys) {
    for (const lvm::PvRow& pv : report.pvs) {
        if (pv.missing) return true;
        struct stat status {};
        if (::stat(pv.name.c_str(), &status) != 0) throw SystemError::from_errno("read status", pv.name);
        const std::filesystem::path device =
            sys + "/dev/block/" + std::to_string(major(status.st_rdev)) + ':' + std::to_string(minor(status.st_rdev));
        std::error_code error;
        if (!std::filesystem::exists(device, error)) return true;
        if (!is_local_device(device)) return true;
    }
    return false;
}

} // namespace coppice
