#include "tests/lvm/guest_host.h"

#include "format/base/error.h"
#include "tests/support/run_program.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <sstream>
#include <sys/socket.h>
#include <sys/un.h>

namespace coppice::lvm::test {
namespace {

using coppice::test::must_run;

class Held final : public HeldLock {
public:
    explicit Held(SmLock lock) : lock_{std::move(lock)} {}

private:
    SmLock lock_;
};

Host guest() {
    Host host;
    host.reading_configuration = host.changing_configuration = std::getenv("LVM_SYSTEM_DIR");
    host.settings = R"(devices{filter=["a|^/dev/vmdisk[01]$|","r|.*|"]})";
    host.environment = {"DM_DISABLE_UDEV=1"};
    return host;
}

std::string quoted(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words)
        text += std::string{text.empty() ? "" : ", "} + "\"" + word + "\"";
    return "[" + text + "]";
}

/// In the form of vgcfgbackup(8).
void write_lv(std::ostream& out, const LvRow& lv) {
    out << lv.name << " {\nid = \"" << lv.uuid << "\"\nstatus = [\"READ\", "
        << (lv.permission == Permission::writable ? "\"WRITE\", " : "")
        << "\"VISIBLE\"]\nflags = []\ntags = " << quoted(lv.tags) << "\nsegment_count = " << lv.segments.size() << "\n";
    int number = 0;
    for (const Segment& segment : lv.segments)
        out << "segment" << ++number << " {\nstart_extent = " << segment.start.count()
            << "\nextent_count = " << segment.length.count()
            << "\ntype = \"striped\"\nstripe_count = 1\nstripes = [\"pv" << segment.place->pv << "\", "
            << segment.place->first.count() << "]\n}\n";
    out << "}\n";
}

} // namespace

FairLockServer::FairLockServer(const std::string& path) {
    std::filesystem::create_directories(std::filesystem::path{path}.parent_path());
    std::filesystem::remove(path);
    socket_ = UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket_.get(), 64) != 0)
        throw SystemError::from_errno("serve", path);
    thread_ = std::thread{[this] { serve(); }};
}

FairLockServer::~FairLockServer() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
}

void FairLockServer::serve() {
    for (;;) {
        const UniqueFd client{::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        if (!client) return;
        ++turns_;
        static_cast<void>(::send(client.get(), "LOCK", 4, MSG_NOSIGNAL));
        char ignored[256];
        while (::recv(client.get(), ignored, sizeof ignored, 0) > 0) {
        }
    }
}

std::unique_ptr<HeldLock> GuestLocks::take(const std::string& space, const std::string& name) {
    auto lock = locks_.try_take(space, name);
    if (!lock) throw Busy{space + "/" + name, locks_.holder(space, name)};
    return std::make_unique<Held>(std::move(*lock));
}

GuestHost::GuestHost() : tool{guest(), runner, fair_lock, real_pause()} {
    std::filesystem::create_directories("/var/lock/sm");
}

std::vector<std::string> GuestHost::active() const {
    std::vector<std::string> names;
    for (const DmRow& row : devices.list())
        names.push_back(row.name);
    return names;
}

void make_group() {
    must_run({"vgremove", "-ff", "-y", "-q", "-q", group_name});
    must_run({"vgcreate", "-q", group_name, "/dev/vmdisk0", "/dev/vmdisk1"});
}

void define_lvs(const std::vector<LvRow>& lvs) {
    const std::string file = "/run/metadata";
    must_run({"vgcfgbackup", "-q", "-f", file, group_name});
    std::stringstream text;
    text << std::ifstream{file}.rdbuf();
    std::stringstream volumes;
    volumes << "\nlogical_volumes {\n";
    for (const LvRow& lv : lvs)
        write_lv(volumes, lv);
    volumes << "}\n";
    // The description of a group ends with the bracket of the group.
    std::string whole = text.str();
    const std::size_t end = whole.rfind("\n}");
    std::ofstream{file} << whole.insert(end, volumes.str());
    must_run({"vgcfgrestore", "-q", "-f", file, group_name});
}

} // namespace coppice::lvm::test
