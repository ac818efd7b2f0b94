// Images made here, as foreign programs see them: qemu-img for roots, libvhdi for chains. Skipped where they are
// absent.
#include "format/base/file_device.h"
#include "format/merge_target.h"
#include "format/vhd/create.h"
#include "format/vhd/image.h"
#include "tests/format/vhd/vhd_world.h"
#include "tests/support/stored_images.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>

namespace coppice::vhd::test {
namespace {

namespace fs = std::filesystem;

struct Outcome {
    int status;
    std::string output;
};

Outcome run(const std::string& command) {
    Outcome outcome{-1, {}};
    std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return outcome;
    std::array<char, 4096> buffer{};
    while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe))
        outcome.output.append(buffer.data(), count);
    outcome.status = ::pclose(pipe);
    return outcome;
}

bool present(const std::string& program) {
    return run("command -v " + program).status == 0;
}

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

class VhdInterop : public testing::Test {
protected:
    fs::path path(const std::string& name) const { return directory_.path() / name; }
    /// What qemu-img reads; it knows no bitmaps.
    std::vector<std::byte> through_qemu(const std::string& name) const {
        const Outcome info = run("qemu-img info -f vpc '" + path(name).string() + "'");
        EXPECT_EQ(info.status, 0) << info.output;
        const Outcome convert =
            run("qemu-img convert -f vpc -O raw '" + path(name).string() + "' '" + path("raw").string() + "'");
        EXPECT_EQ(convert.status, 0) << convert.output;
        return content(path("raw"));
    }

private:
    coppice::test::TemporaryDirectory directory_;
};

TEST_F(VhdInterop, QemuReadsRoots) {
    if (!present("qemu-img")) GTEST_SKIP() << "no qemu-img";
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
    if (!present("qemu-img")) GTEST_SKIP() << "no qemu-img";
    std::mt19937_64 random{2};
    const Stored base = make({"base.vhd", NewDisk{6_MiB}});
    scribble(base, {}, random, 8);
    NewDisk upper{10_MiB};
    upper.parent = NewParent{"base.vhd", Format::vhd, base.open()->vhd_uuid(), 1'700'000'000};
    const Stored leaf = make({"leaf.vhd", upper});
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
    if (!present("qemu-img")) GTEST_SKIP() << "no qemu-img";
    std::mt19937_64 random{3};
    const Stored base = make({"base.vhd", NewDisk{4_MiB}});
    scribble(base, {}, random, 8);
    auto guest = guest_bytes({base});
    MemoryLog log;
    {
        const auto image = base.open();
        const auto target = image->merge_target(log);
        BufferedMover mover{BufferedMover::Sharing::never};
        target->prepare();
        target->grow(260_MiB, {EmptyView{}, EmptyView{}}, mover);
        target->finish(MergeTarget::Becomes::root);
    }
    save(base, path("grown.vhd"));
    guest.resize((260_MiB).count());
    EXPECT_EQ(through_qemu("grown.vhd"), guest);
}

TEST_F(VhdInterop, LibvhdiKnowsParents) {
    if (!present("vhdiinfo")) GTEST_SKIP() << "no vhdiinfo";
    const Stored base = make({"base.vhd", NewDisk{6_MiB}});
    const Stored other = make({"other.vhd", NewDisk{6_MiB}});
    NewDisk upper{6_MiB};
    upper.parent = NewParent{"base.vhd", Format::vhd, base.open()->vhd_uuid(), 1'700'000'000};
    const Stored leaf = make({"leaf.vhd", upper});
    for (const Stored* parent : {&base, &other}) {
        const std::optional<Uuid> uuid = parent->open()->vhd_uuid();
        apply(*leaf.device(), leaf.open()->relinked(NewParent{parent->name, Format::vhd, uuid, 1'700'000'000}));
        save(leaf, path("leaf.vhd"));
        save(*parent, path(parent->name));
        const Outcome info = run("cd '" + path("").string() + "' && vhdiinfo leaf.vhd");
        EXPECT_EQ(info.status, 0) << info.output;
        EXPECT_NE(info.output.find("Differential"), std::string::npos) << info.output;
        EXPECT_NE(info.output.find(uuid->text()), std::string::npos) << info.output;
        EXPECT_NE(info.output.find(parent->name), std::string::npos) << info.output;
    }
}

/// Sector by sector with whole blocks, which even libvhdi reads right (it misreads clear bits behind set ones).
TEST_F(VhdInterop, LibvhdiReadsChains) {
    if (run("/usr/bin/python3 -c 'import pyvhdi'").status != 0) GTEST_SKIP() << "no python3-libvhdi";
    std::mt19937_64 random{4};
    const Stored base = make({"base.vhd", NewDisk{8_MiB}});
    scribble(base, {}, random, 8);
    NewDisk upper{8_MiB};
    upper.parent = NewParent{"base.vhd", Format::vhd, base.open()->vhd_uuid(), 1'700'000'000};
    const Stored leaf = make({"leaf.vhd", upper});
    MemoryLog log;
    const auto opened = leaf.open();
    const auto target = opened->merge_target(log);
    BufferedMover mover{BufferedMover::Sharing::never};
    target->prepare();
    const std::vector<std::byte> bytes(2 << 20, std::byte{7});
    const std::array writes{GuestWrite{{2_MiB, 4_MiB}, GuestWrite::Source::memory, nullptr, 0_B, bytes}};
    target->write(writes, {EmptyView{}, EmptyView{}}, mover);
    target->finish(MergeTarget::Becomes::child);
    save(base, path("base.vhd"));
    save(leaf, path("leaf.vhd"));
    std::ofstream{path("read.py")} << "import pyvhdi\n"
                                      "parent = pyvhdi.file(); parent.open('base.vhd')\n"
                                      "child = pyvhdi.file(); child.open('leaf.vhd'); child.set_parent(parent)\n"
                                      "open('raw', 'wb').write(child.read_buffer(child.get_media_size()))\n";
    const Outcome read = run("cd '" + path("").string() + "' && /usr/bin/python3 read.py");
    ASSERT_EQ(read.status, 0) << read.output;
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
