#include "gc/occupancy.h"

#include "format/base/error.h"
#include "format/base/file_device.h"
#include "gc/network_fs.h"

#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <thread>

namespace coppice {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Purpose = Occupancy::Purpose;

class Directory {
public:
    Directory() {
        std::string pattern = (std::filesystem::temp_directory_path() / "coppice-test-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error{"no temporary directory"};
        root_ = pattern;
    }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    ~Directory() {
        std::error_code ignored;
        std::filesystem::remove_all(root_, ignored);
    }
    std::string file(const std::string& name) const { return root_ / name; }

private:
    std::filesystem::path root_;
};

std::unique_ptr<FileDevice> open_device(const std::string& path, int mode = O_RDWR) {
    return std::make_unique<FileDevice>(UniqueFd{::open(path.c_str(), mode | O_CLOEXEC)}, path);
}

int run(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str());
}

bool have(const std::string& program) {
    return run("command -v " + program) == 0;
}

/// A process of another program, ended with the object.
class Program {
public:
    explicit Program(std::vector<std::string> arguments) {
        std::vector<char*> argv;
        for (std::string& argument : arguments)
            argv.push_back(argument.data());
        argv.push_back(nullptr);
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error{"pipe"};
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::dup2(ends[0], 0); // an open standard input keeps qemu-io running
            const int nowhere = ::open("/dev/null", O_WRONLY);
            ::dup2(nowhere, 1);
            ::dup2(nowhere, 2);
            ::execvp(argv[0], argv.data());
            ::_exit(127);
        }
        ::close(ends[0]);
        input_ = UniqueFd{ends[1]};
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    int pid() const { return pid_; }

private:
    pid_t pid_ = 0;
    UniqueFd input_;
};

FileIdentity identity_of(const std::string& path) {
    return open_device(path, O_RDONLY)->identity();
}

/// Waits until `program` has the image open, and then for its locks.
bool wait_for_opener(const Program& program, const std::string& path) {
    HostOccupancy host;
    const FileIdentity identity = identity_of(path);
    for (int attempt = 0; attempt < 200; ++attempt) {
        const auto openers = host.openers({&identity, 1});
        for (const Opener& opener : openers.front())
            if (opener.pid == program.pid()) {
                std::this_thread::sleep_for(std::chrono::milliseconds{100});
                return true;
            }
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
    return false;
}

class OccupancyWithQemu : public testing::Test {
protected:
    void SetUp() override {
        if (!have("qemu-img") || !have("qemu-io")) GTEST_SKIP() << "no qemu-img or qemu-io here";
        ASSERT_EQ(run("qemu-img create -f qcow2 " + path_ + " 1M"), 0);
    }
    Directory directory_;
    std::string path_ = directory_.file("image.qcow2");
    HostOccupancy host_;
};

TEST(Occupancy, SeesNobodyWhereThereIsNobody) {
    const Directory directory;
    std::ofstream{directory.file("a")} << "x";
    const auto own = open_device(directory.file("a"));
    const FileIdentity identity = own->identity();
    HostOccupancy host;
    EXPECT_THAT(host.openers({&identity, 1}).front(), IsEmpty()) << "we do not count ourselves";
    EXPECT_EQ(host.lock_holder(*own), std::nullopt);
}

TEST(Occupancy, NamesEveryProcessThatHasAnImageOpen) {
    const Directory directory;
    for (const char* name : {"a", "b"})
        std::ofstream{directory.file(name)} << "x";
    const Program tail{{"tail", "-f", directory.file("b"), directory.file("b")}};
    ASSERT_TRUE(wait_for_opener(tail, directory.file("b")));
    const FileIdentity images[] = {
        identity_of(directory.file("a")), identity_of(directory.file("b")), {}, identity_of(directory.file("b"))};
    const auto openers = HostOccupancy{}.openers(images);
    ASSERT_THAT(openers, SizeIs(4));
    EXPECT_THAT(openers[0], IsEmpty());
    EXPECT_THAT(openers[1], testing::ElementsAre(Opener{tail.pid(), "tail"}));
    EXPECT_THAT(openers[2], IsEmpty());
    EXPECT_EQ(openers[3], openers[1]);
}

TEST(Occupancy, FindsAnImageThatWasRenamed) {
    const Directory directory;
    std::ofstream{directory.file("a")} << "x";
    const Program tail{{"tail", "-f", directory.file("a")}};
    ASSERT_TRUE(wait_for_opener(tail, directory.file("a")));
    std::filesystem::rename(directory.file("a"), directory.file("b"));
    const FileIdentity image = identity_of(directory.file("b"));
    EXPECT_THAT(HostOccupancy{}.openers({&image, 1}).front(), SizeIs(1));
}

TEST(Occupancy, SeesFilesBehindLoopDevices) {
    const Directory directory;
    std::ofstream{directory.file("image")} << "x";
    std::filesystem::create_directories(directory.file("sys/block/loop7/loop"));
    std::filesystem::create_directories(directory.file("sys/block/sda"));
    std::filesystem::create_directories(directory.file("sys/block/loop8"));
    std::ofstream{directory.file("sys/block/loop7/loop/backing_file")} << directory.file("image") << "\n";
    const FileIdentity image = identity_of(directory.file("image"));
    EXPECT_THAT((HostOccupancy{"/proc", directory.file("sys")}.openers({&image, 1}).front()),
                testing::ElementsAre(Opener{0, "loop7"}));
}

TEST(Occupancy, FailsWhereTheHostCannotBeLookedThrough) {
    const FileIdentity image{1, 2, 3, 4};
    EXPECT_THROW((HostOccupancy{"/nonexistent"}.openers({&image, 1})), SystemError);
}

TEST(Occupancy, RespectsClassicLocks) {
    const Directory directory;
    std::ofstream{directory.file("a")} << "content";
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const int fd = ::open(directory.file("a").c_str(), O_RDWR);
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
    HostOccupancy host;
    const auto device = open_device(directory.file("a"));
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
    const Program writer{{"qemu-io", "-f", "qcow2", path_}};
    ASSERT_TRUE(wait_for_opener(writer, path_));
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
    const Program reader{{"qemu-io", "-r", "-f", "qcow2", path_}};
    ASSERT_TRUE(wait_for_opener(reader, path_));
    const auto device = open_device(path_);
    EXPECT_NE(host_.claim(*device, Purpose::read), nullptr);
    EXPECT_THROW(host_.claim(*device, Purpose::write), Busy);
}

TEST_F(OccupancyWithQemu, SeesReadersThatForceTheirWay) {
    const Program reader{{"qemu-io", "-r", "-U", "-f", "qcow2", path_}};
    ASSERT_TRUE(wait_for_opener(reader, path_));
    EXPECT_THROW(host_.claim(*open_device(path_), Purpose::write), Busy);
}

TEST_F(OccupancyWithQemu, SeesAnExportOfQemuNbd) {
    if (!have("qemu-nbd")) GTEST_SKIP() << "no qemu-nbd here";
    const Program server{{"qemu-nbd", "-f", "qcow2", "-k", directory_.file("socket"), "-t", path_}};
    ASSERT_TRUE(wait_for_opener(server, path_));
    EXPECT_THROW(host_.claim(*open_device(path_), Purpose::write), Busy);
}

TEST_F(OccupancyWithQemu, SeesAStorageDaemonOnTheParentOfItsImage) {
    if (!have("qemu-storage-daemon")) GTEST_SKIP() << "no qemu-storage-daemon here";
    const std::string child = directory_.file("child.qcow2");
    ASSERT_EQ(run("qemu-img create -f qcow2 -F qcow2 -b " + path_ + " " + child), 0);
    const Program daemon{
        {"qemu-storage-daemon", "--blockdev", "driver=qcow2,node-name=n,file.driver=file,file.filename=" + child}};
    ASSERT_TRUE(wait_for_opener(daemon, path_));
    EXPECT_THROW(host_.claim(*open_device(path_), Purpose::write), Busy);
    EXPECT_NE(host_.claim(*open_device(path_), Purpose::read), nullptr) << "readers of a parent share it";
}

TEST_F(OccupancyWithQemu, KeepsQemuOutWhileItHoldsAClaim) {
    const auto device = open_device(path_);
    const std::string write = "qemu-io -f qcow2 -c 'write 0 512' " + path_;
    const std::string read = "qemu-io -r -f qcow2 -c 'read 0 512' " + path_;
    {
        const auto claim = host_.claim(*device, Purpose::write);
        EXPECT_NE(run(write), 0);
        EXPECT_NE(run(read), 0);
    }
    {
        const auto claim = host_.claim(*device, Purpose::read);
        EXPECT_NE(run(write), 0);
        EXPECT_EQ(run(read), 0);
    }
    EXPECT_EQ(run(write), 0) << "the claim was given back";
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
    const Directory directory;
    EXPECT_FALSE(other_hosts_may_use(directory.file(".")));
    EXPECT_THROW(other_hosts_may_use(directory.file("missing")), SystemError);
}

} // namespace
} // namespace coppice
