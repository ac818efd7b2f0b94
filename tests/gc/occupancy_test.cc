#include "gc/scan/occupancy.h"

#include "format/base/error.h"
#include "format/base/file_device.h"
#include "gc/scan/network_fs.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_directory.h"

#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

namespace coppice {
namespace {

using test::Command;
using test::must_run;
using test::run_program;
using test::RunningProgram;
using test::TemporaryDirectory;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Purpose = Occupancy::Purpose;

std::unique_ptr<FileDevice> open_device(const std::string& path, int mode = O_RDWR) {
    return std::make_unique<FileDevice>(UniqueFd{::open(path.c_str(), mode | O_CLOEXEC)}, path);
}

FileIdentity identity_of(const std::string& path) {
    return open_device(path, O_RDONLY)->identity();
}

/// qemu-io, which asks for a command once it has opened the image and taken its locks.
class QemuIo : public RunningProgram {
public:
    explicit QemuIo(Command options) : RunningProgram{command(std::move(options))} { wait_for_output("qemu-io> "); }

private:
    static Command command(Command options) {
        options.insert(options.begin(), {"qemu-io", "-f", "qcow2"});
        return options;
    }
};

/// qemu-nbd, which goes on by itself once it serves the image.
class Export {
public:
    Export(const TemporaryDirectory& directory, const std::string& image) {
        const std::string pid_file = directory / "pid";
        must_run({"qemu-nbd", "--fork", "--pid-file", pid_file, "-f", "qcow2", "-k", directory / "socket", image});
        std::ifstream{pid_file} >> pid_;
    }
    Export(const Export&) = delete;
    Export& operator=(const Export&) = delete;
    ~Export() {
        if (pid_ > 0) ::kill(pid_, SIGKILL);
    }
    int pid() const { return pid_; }

private:
    int pid_ = 0;
};

/// Does not sleep between its attempts: who holds a lock in these tests keeps it.
HostOccupancy impatient() {
    return HostOccupancy{"/proc", "/sys", [](std::chrono::milliseconds) {}};
}

class OccupancyWithQemu : public testing::Test {
protected:
    OccupancyWithQemu() { must_run({"qemu-img", "create", "-f", "qcow2", path_, "1M"}); }

    TemporaryDirectory directory_;
    std::string path_ = directory_ / "image.qcow2";
    HostOccupancy host_ = impatient();
};

TEST(Occupancy, SeesNobodyWhereThereIsNobody) {
    const TemporaryDirectory directory;
    std::ofstream{directory / "a"} << "x";
    const auto own = open_device(directory / "a");
    const FileIdentity identity = own->identity();
    HostOccupancy host;
    EXPECT_THAT(host.openers({&identity, 1}).front(), IsEmpty()) << "we do not count ourselves";
    EXPECT_EQ(host.lock_holder(*own), std::nullopt);
}

TEST(Occupancy, NamesEveryProcessThatHasAnImageOpen) {
    const TemporaryDirectory directory;
    for (const char* name : {"a", "b"})
        std::ofstream{directory / name} << "content\n";
    RunningProgram tail{{"tail", "-f", directory / "b", directory / "b"}};
    tail.wait_for_output("content\n");
    tail.wait_for_output("content\n"); // open twice, and yet one process
    const FileIdentity images[] = {
        identity_of(directory / "a"), identity_of(directory / "b"), {}, identity_of(directory / "b")};
    const auto openers = HostOccupancy{}.openers(images);
    ASSERT_THAT(openers, SizeIs(4));
    EXPECT_THAT(openers[0], IsEmpty());
    EXPECT_THAT(openers[1], testing::ElementsAre(Opener{tail.pid(), "tail"}));
    EXPECT_THAT(openers[2], IsEmpty());
    EXPECT_EQ(openers[3], openers[1]);
}

TEST(Occupancy, FindsAnImageThatWasRenamed) {
    const TemporaryDirectory directory;
    std::ofstream{directory / "a"} << "content\n";
    RunningProgram tail{{"tail", "-f", directory / "a"}};
    tail.wait_for_output("content\n");
    std::filesystem::rename(directory / "a", directory / "b");
    const FileIdentity image = identity_of(directory / "b");
    EXPECT_THAT(HostOccupancy{}.openers({&image, 1}).front(), SizeIs(1));
}

TEST(Occupancy, SeesFilesBehindLoopDevices) {
    const TemporaryDirectory directory;
    std::ofstream{directory / "image"} << "x";
    std::filesystem::create_directories(directory / "sys/block/loop7/loop");
    std::filesystem::create_directories(directory / "sys/block/sda");
    std::filesystem::create_directories(directory / "sys/block/loop8");
    std::ofstream{directory / "sys/block/loop7/loop/backing_file"} << (directory / "image") + "\n";
    const FileIdentity image = identity_of(directory / "image");
    EXPECT_THAT((HostOccupancy{"/proc", directory / "sys"}.openers({&image, 1}).front()),
                testing::ElementsAre(Opener{0, "loop7"}));
}

TEST(Occupancy, FailsWhereTheHostCannotBeLookedThrough) {
    const FileIdentity image{1, 2, 3, 4};
    EXPECT_THROW((HostOccupancy{"/nonexistent"}.openers({&image, 1})), SystemError);
}

TEST(Occupancy, RespectsClassicLocks) {
    const TemporaryDirectory directory;
    std::ofstream{directory / "a"} << "content";
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const int fd = ::open((directory / "a").c_str(), O_RDWR);
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        const char result = ::fcntl(fd, F_SETLK, &lock) == 0 ? 'y' : 'n';
        if (::write(ends[1], &result, 1) != 1) ::_exit(1);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            ::pause();
    }
    char locked = 0;
    ASSERT_EQ(::read(ends[0], &locked, 1), 1);
    ASSERT_EQ(locked, 'y');
    HostOccupancy host = impatient();
    const auto device = open_device(directory / "a");
    for (const Purpose purpose : {Purpose::write, Purpose::read}) {
        try {
            host.claim(*device, purpose);
            ADD_FAILURE() << "was claimed";
        } catch (const Busy& busy) {
            EXPECT_THAT(busy.what(), HasSubstr("pid " + std::to_string(child)));
        }
    }
    EXPECT_EQ(host.lock_holder(*device).value().pid, child);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
    EXPECT_NE(host.claim(*device, Purpose::write), nullptr);
}

TEST_F(OccupancyWithQemu, IsRefusedWhileAWriterHoldsTheImage) {
    const QemuIo writer{{path_}};
    const auto device = open_device(path_);
    try {
        host_.claim(*device, Purpose::write);
        ADD_FAILURE() << "was claimed";
    } catch (const Busy& busy) {
        EXPECT_THAT(busy.what(), HasSubstr("qemu-io (pid " + std::to_string(writer.pid()) + ")"));
    }
    EXPECT_THROW(host_.claim(*device, Purpose::read), Busy);
    EXPECT_EQ(host_.lock_holder(*device), (Opener{writer.pid(), "qemu-io"}));
}

TEST_F(OccupancyWithQemu, SharesReadingWithReaders) {
    const QemuIo reader{{"-r", path_}};
    const auto device = open_device(path_);
    EXPECT_NE(host_.claim(*device, Purpose::read), nullptr);
    EXPECT_THROW(host_.claim(*device, Purpose::write), Busy);
}

TEST_F(OccupancyWithQemu, SeesReadersThatForceTheirWay) {
    const QemuIo reader{{"-r", "-U", path_}};
    EXPECT_THROW(host_.claim(*open_device(path_), Purpose::write), Busy);
}

TEST_F(OccupancyWithQemu, SeesAnExportOfQemuNbd) {
    const Export server{directory_, path_};
    try {
        host_.claim(*open_device(path_), Purpose::write);
        ADD_FAILURE() << "was claimed";
    } catch (const Busy& busy) {
        EXPECT_THAT(busy.what(), HasSubstr("qemu-nbd (pid " + std::to_string(server.pid()) + ")"));
    }
}

TEST_F(OccupancyWithQemu, SeesAStorageDaemonOnTheParentOfItsImage) {
    const std::string child = directory_ / "child.qcow2";
    must_run({"qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", path_, child});
    // The monitor comes last and greets.
    RunningProgram daemon{{"qemu-storage-daemon", "--blockdev",
                           "driver=qcow2,node-name=n,file.driver=file,file.filename=" + child, "--chardev",
                           "stdio,id=monitor", "--monitor", "chardev=monitor"}};
    daemon.wait_for_output("\"QMP\"");
    EXPECT_THROW(host_.claim(*open_device(path_), Purpose::write), Busy);
    EXPECT_NE(host_.claim(*open_device(path_), Purpose::read), nullptr) << "readers of a parent share it";
}

TEST_F(OccupancyWithQemu, KeepsQemuOutWhileItHoldsAClaim) {
    const auto device = open_device(path_);
    const Command write{"qemu-io", "-f", "qcow2", "-c", "write 0 512", path_};
    const Command read{"qemu-io", "-r", "-f", "qcow2", "-c", "read 0 512", path_};
    {
        const auto claim = host_.claim(*device, Purpose::write);
        EXPECT_NE(run_program(write).status, 0);
        EXPECT_NE(run_program(read).status, 0);
    }
    {
        const auto claim = host_.claim(*device, Purpose::read);
        EXPECT_NE(run_program(write).status, 0);
        EXPECT_EQ(run_program(read).status, 0);
    }
    EXPECT_EQ(run_program(write).status, 0) << "the claim was given back";
}

TEST_F(OccupancyWithQemu, LetsOthersLookAtWhatItPoursInto) {
    const auto device = open_device(path_);
    const Command write{"qemu-io", "-f", "qcow2", "-c", "write 0 512", path_};
    const Command read{"qemu-io", "-r", "-f", "qcow2", "-c", "read 0 512", path_};
    const Command look{"qemu-img", "info", "--backing-chain", path_}; // as sm does before a snapshot
    {
        const auto claim = host_.claim(*device, Purpose::pour_below);
        EXPECT_EQ(run_program(look).status, 0);
        EXPECT_EQ(run_program(read).status, 0);
        EXPECT_NE(run_program(write).status, 0);
    }
    {
        const auto claim = host_.claim(*device, Purpose::pour_alone);
        EXPECT_EQ(run_program(look).status, 0);
        EXPECT_NE(run_program(read).status, 0);
        EXPECT_NE(run_program(write).status, 0);
    }
    {
        const auto claim = host_.claim(*device, Purpose::write);
        EXPECT_NE(run_program(look).status, 0);
    }
    const QemuIo reader{{"-r", path_}};
    for (const Purpose purpose : {Purpose::pour_below, Purpose::pour_alone})
        EXPECT_THROW(host_.claim(*device, purpose), Busy) << "who was there before is not passed over";
}

TEST_F(OccupancyWithQemu, WaitsForALockThatIsGivenBackInAMoment) {
    const auto other = open_device(path_);
    auto held = host_.claim(*other, Purpose::write);
    int pauses = 0;
    HostOccupancy patient{"/proc", "/sys", [&](std::chrono::milliseconds) {
                              if (++pauses == 3) held.reset();
                          }};
    EXPECT_NE(patient.claim(*open_device(path_), Purpose::write), nullptr);
    EXPECT_EQ(pauses, 3);
}

TEST_F(OccupancyWithQemu, DoesNotWaitForLong) {
    const auto other = open_device(path_);
    const auto held = host_.claim(*other, Purpose::write);
    std::chrono::milliseconds waited{0};
    HostOccupancy patient{"/proc", "/sys", [&](std::chrono::milliseconds length) { waited += length; }};
    EXPECT_THROW(patient.claim(*open_device(path_), Purpose::write), Busy);
    EXPECT_EQ(waited, std::chrono::milliseconds{300}) << "in all, and not slept here";
}

TEST_F(OccupancyWithQemu, LetsOnlyOneClaimForWriting) {
    const auto first = open_device(path_);
    const auto second = open_device(path_);
    const auto claim = host_.claim(*first, Purpose::write);
    EXPECT_THROW(host_.claim(*second, Purpose::write), Busy);
    EXPECT_THROW(host_.claim(*second, Purpose::read), Busy);
}

// ---- file systems ----

constexpr std::string_view mounts =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "70 22 0:45 /sr /run/sr-mount/x rw,noatime shared:9 master:2 - nfs4 server:/export/sr rw,vers=4.2\n"
    "garbage\n"
    "71 22 0:46 / /mnt/a\\040b rw - fuse.mfs mfs rw\n";

TEST(NetworkFs, FindsTheTypeByDevice) {
    EXPECT_EQ(mounted_type(mounts, makedev(8, 1)), "ext4");
    EXPECT_EQ(mounted_type(mounts, makedev(0, 45)), "nfs4");
    EXPECT_EQ(mounted_type(mounts, makedev(0, 46)), "fuse.mfs");
    EXPECT_EQ(mounted_type(mounts, makedev(0, 47)), std::nullopt);
}

TEST(NetworkFs, KnowsWhatIsSharedBetweenHosts) {
    for (const char* type : {"nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.glusterfs", "fuse.mfs", "ocfs2", "gfs2", "9p",
                             "lustre", "unheard-of"})
        EXPECT_TRUE(is_shared_type(type)) << type;
    for (const char* type : {"ext3", "ext4", "xfs", "zfs", "btrfs", "tmpfs", "overlay"})
        EXPECT_FALSE(is_shared_type(type)) << type;
}

TEST(NetworkFs, TakesATemporaryDirectoryForLocal) {
    const TemporaryDirectory directory;
    EXPECT_FALSE(other_hosts_may_use(directory / "."));
    EXPECT_THROW(other_hosts_may_use(directory / "missing"), SystemError);
}

} // namespace
} // namespace coppice
