// Images made here, as foreign programs see them: qemu-img for roots, libvhdi for chains.
#include "format/base/file_device.h"
#include "format/merge_target.h"
#include "format/vhd/create.h"
#include "format/vhd/image.h"
#include "tests/format/vhd/vhd_world.h"
#include "tests/support/run_program.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <array>
#include <fcntl.h>
#include <fstream>

namespace coppice::vhd::test {
namespace {

namespace fs = std::filesystem;
using coppice::test::must_run;

void save(const Stored& stored, const fs::path& path) {
    std::ofstream out{path, std::ios::binary};
    out.write(reinterpret_cast<const char*>(stored.file->bytes.data()),
              static_cast<std::streamsize>(stored.file->bytes.size()));
}

std::vector<std::byte> content(const fs::path& path) {
    std::vector<std::byte> bytes(fs::file_size(path));
    std::ifstream in{path, std::ios::binary};
    in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
}

NewDisk disk_over(const Stored& parent, Bytes size) {
    NewDisk disk{size};
    disk.parent = NewParent{parent.name, Format::vhd, parent.open()->vhd_uuid(), 1'700'000'000};
    return disk;
}

class VhdInterop : public testing::Test {
protected:
    fs::path path(const std::string& name) const { return directory_.path() / name; }
    /// What qemu-img reads; it knows no bitmaps.
    std::vector<std::byte> through_qemu(const std::string& name) const {
        must_run({"qemu-img", "info", "-f", "vpc", path(name)});
        must_run({"qemu-img", "convert", "-f", "vpc", "-O", "raw", path(name), path("raw")});
        return content(path("raw"));
    }

private:
    coppice::test::TemporaryDirectory directory_;
};

TEST_F(VhdInterop, QemuReadsRoots) {
    std::mt19937_64 random{1};
    for (const Bytes size : {4_MiB, 10_MiB, 64_MiB}) {
        const Stored dynamic = make({"dynamic.vhd", NewDisk{size}});
        scribble(dynamic, {}, random, 8);
        save(dynamic, path("dynamic.vhd"));
        EXPECT_EQ(through_qemu("dynamic.vhd"), guest_bytes({dynamic}));
        const Stored fixed = make({"fixed.vhd", NewDisk{size}, true});
        scribble(fixed, {}, random, 8);
        save(fixed, path("fixed.vhd"));
        EXPECT_EQ(through_qemu("fixed.vhd"), guest_bytes({fixed}));
    }
}

TEST_F(VhdInterop, QemuReadsWhatBecameARoot) {
    std::mt19937_64 random{2};
    const Stored base = make({"base.vhd", NewDisk{6_MiB}});
    scribble(base, {}, random, 8);
    const Stored leaf = make({"leaf.vhd", disk_over(base, 10_MiB)});
    scribble(leaf, {base}, random, 8);
    const auto guest = guest_bytes({leaf, base});

    MemoryLog log;
    const Stored root = base.copy();
    Merge down{root, {leaf}, {}, {}};
    down.becomes = MergeTarget::Becomes::root;
    down.batch = 4_MiB;
    pour(down, nullptr, log);
    save(root, path("down.vhd"));
    EXPECT_EQ(through_qemu("down.vhd"), guest);

    Merge up{leaf, {base}, {base}, {}};
    up.up = true;
    up.becomes = MergeTarget::Becomes::root;
    up.batch = 4_MiB;
    pour(up, nullptr, log);
    apply(*leaf.device(), leaf.open()->relinked(std::nullopt));
    save(leaf, path("up.vhd"));
    EXPECT_EQ(through_qemu("up.vhd"), guest);
}

TEST_F(VhdInterop, QemuReadsALargerTable) {
    std::mt19937_64 random{3};
    const Stored base = make({"base.vhd", NewDisk{4_MiB}});
    scribble(base, {}, random, 8);
    auto guest = guest_bytes({base});
    LoneTarget target{base};
    target.grow(260_MiB);
    target.finish();
    save(base, path("grown.vhd"));
    guest.resize((260_MiB).count());
    EXPECT_EQ(through_qemu("grown.vhd"), guest);
}

TEST_F(VhdInterop, LibvhdiKnowsParents) {
    const Stored base = make({"base.vhd", NewDisk{6_MiB}});
    const Stored other = make({"other.vhd", NewDisk{6_MiB}});
    const Stored leaf = make({"leaf.vhd", disk_over(base, 6_MiB)});
    for (const Stored* parent : {&base, &other}) {
        const std::optional<Uuid> uuid = parent->open()->vhd_uuid();
        apply(*leaf.device(), leaf.open()->relinked(NewParent{parent->name, Format::vhd, uuid, 1'700'000'000}));
        save(leaf, path("leaf.vhd"));
        save(*parent, path(parent->name));
        const std::string info = must_run({"vhdiinfo", "leaf.vhd"}, path(""));
        EXPECT_NE(info.find("Differential"), std::string::npos) << info;
        EXPECT_NE(info.find(uuid->text()), std::string::npos) << info;
        EXPECT_NE(info.find(parent->name), std::string::npos) << info;
    }
}

/// Sector by sector with whole blocks, which even libvhdi reads right (it misreads clear bits behind set ones).
TEST_F(VhdInterop, LibvhdiReadsChains) {
    std::mt19937_64 random{4};
    const Stored base = make({"base.vhd", NewDisk{8_MiB}});
    scribble(base, {}, random, 8);
    const Stored leaf = make({"leaf.vhd", disk_over(base, 8_MiB)});
    LoneTarget target{leaf};
    target.write({2_MiB, 4_MiB}, std::vector<std::byte>(2 << 20, std::byte{7}));
    target.finish(MergeTarget::Becomes::child);
    save(base, path("base.vhd"));
    save(leaf, path("leaf.vhd"));
    std::ofstream{path("read.py")} << "import pyvhdi\n"
                                      "parent = pyvhdi.file(); parent.open('base.vhd')\n"
                                      "child = pyvhdi.file(); child.open('leaf.vhd'); child.set_parent(parent)\n"
                                      "open('raw', 'wb').write(child.read_buffer(child.get_media_size()))\n";
    must_run({"/usr/bin/python3", "read.py"}, path(""));
    EXPECT_EQ(content(path("raw")), guest_bytes({leaf, base}));
}

TEST_F(VhdInterop, RealFilesStaySparse) {
    const auto device_at = [&](const std::string& name) {
        const int fd = ::open(path(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        return std::make_unique<FileDevice>(UniqueFd{fd}, name);
    };
    create(*device_at("sparse.vhd"), NewDisk{2040_GiB});
    const auto image = vhd::open(device_at("sparse.vhd"));
    MemoryLog log;
    const auto target = image->merge_target(log);
    BufferedMover mover{BufferedMover::Sharing::never};
    target->prepare();
    const std::vector<std::byte> bytes(1 << 20, std::byte{7});
    const std::array writes{GuestWrite{{1000_GiB, 1000_GiB + 1_MiB}, GuestWrite::Source::memory, nullptr, 0_B, bytes}};
    target->write(writes, {EmptyView{}, EmptyView{}}, mover);
    target->finish(MergeTarget::Becomes::root);
    const auto again = vhd::open(device_at("sparse.vhd"));
    EXPECT_EQ(again->allocated_size(), 2_MiB);
    EXPECT_EQ(again->next_mapped(0_B), 1000_GiB);
    EXPECT_EQ(again->device().size(), again->physical_size());
}

} // namespace
} // namespace coppice::vhd::test
