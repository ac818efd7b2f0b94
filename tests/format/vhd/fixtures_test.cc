// Every image of tests/data/vhd, made by blktap, tapdisk, qemu and by damage, against what its manifest says.
#include "tests/support/fixtures.h"

#include "format/base/error.h"
#include "format/chain.h"
#include "format/check.h"
#include "format/image.h"
#include "tests/support/memory_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

namespace coppice {
namespace {

using test::Fixture;

/// An image of a case with all its parents, newest first. Parents are found as the names say, inside the case's folder.
std::vector<std::unique_ptr<Image>> open_chain(const std::string& name, std::string file) {
    std::vector<std::unique_ptr<Image>> chain;
    std::set<std::string> seen;
    Format format = file.ends_with(".raw") ? Format::raw : Format::vhd;
    while (true) {
        if (!seen.insert(file).second) throw std::runtime_error{"cycle at " + file};
        chain.push_back(open_image(test::memory_device(test::unpack_fixture("vhd", name + "/" + file), file), format));
        const auto parent = chain.back()->parent();
        if (!parent) return chain;
        std::string found;
        for (const std::string& stored : parent->names) {
            const auto path = (std::filesystem::path{file}.parent_path() / stored).lexically_normal().string();
            if (found.empty() && test::fixture_exists("vhd", name + "/" + path)) found = path;
        }
        if (found.empty()) throw std::runtime_error{"no parent of " + file};
        format = parent->format.value();
        file = found;
    }
}

ChainView view_of(const std::vector<std::unique_ptr<Image>>& chain) {
    std::vector<const Image*> layers;
    for (const auto& image : chain)
        layers.push_back(image.get());
    return ChainView{layers};
}

class VhdFixture : public testing::TestWithParam<Fixture> {
protected:
    std::vector<std::byte> bytes() const {
        return test::unpack_fixture("vhd", GetParam().name + "/" + GetParam().file);
    }
    bool vhd() const { return GetParam().file.ends_with(".vhd"); }
};

TEST_P(VhdFixture, CheckAgreesWithManifest) {
    const Fixture& fixture = GetParam();
    if (!vhd()) return;
    const CheckReport report = check_image(*test::memory_device(bytes()), Format::vhd);
    std::string all;
    for (const Finding& finding : report.findings)
        all += finding.code + ": " + finding.text + "\n";
    const bool only_chain_is_bad = !fixture.sound && !fixture.chain_reason.empty();
    EXPECT_EQ(report.verdict == Verdict::ok, fixture.sound || only_chain_is_bad) << all;
    // What a crash of tapdisk or a wrong clock leaves does not keep an image from being merged.
    static const std::set<std::string> blemishes{"primary-footer-invalid", "copy-footer-invalid", "footer-timestamp"};
    const bool harmless =
        std::ranges::all_of(report.findings, [](const Finding& f) { return blemishes.contains(f.code); });
    EXPECT_EQ(report.mergeable, report.verdict == Verdict::ok || harmless) << all;
    EXPECT_EQ(report.reason.empty(), report.verdict == Verdict::ok);
    // One block of "truncated" is lost: its hash is that of the undamaged disk.
    if (fixture.guest_sha256) {
        EXPECT_EQ(report.readable, fixture.name != "truncated") << all;
    }
    if (report.verdict != Verdict::ok) {
        EXPECT_FALSE(report.findings.empty());
    }
}

TEST_P(VhdFixture, GuestBytesAgreeWithManifest) {
    const Fixture& fixture = GetParam();
    if (fixture.name == "truncated") {
        EXPECT_THROW(test::sha256(view_of(open_chain(fixture.name, fixture.file))), CorruptImage);
        return;
    }
    if (!fixture.guest_sha256 && fixture.guest_ranges.empty()) return;
    const auto chain = open_chain(fixture.name, fixture.file);
    const ChainView view = view_of(chain);
    if (fixture.guest_sha256) {
        EXPECT_EQ(test::sha256(view), *fixture.guest_sha256);
    }
    for (const Fixture::Range& range : fixture.guest_ranges)
        EXPECT_EQ(test::sha256(view, range.offset, range.length), range.sha256);
}

TEST_P(VhdFixture, HeadersAgreeWithManifest) {
    const Fixture& fixture = GetParam();
    if (!vhd() || !fixture.virtual_size) return;
    const auto image = open_image(test::memory_device(bytes()), Format::vhd);
    EXPECT_EQ(image->virtual_size().count(), *fixture.virtual_size);
    if (fixture.hidden) {
        EXPECT_EQ(image->hidden(), *fixture.hidden);
    }
    if (fixture.uuid) {
        EXPECT_EQ(image->vhd_uuid()->text(), *fixture.uuid);
    }
    if (fixture.type) {
        EXPECT_EQ(image->parent().has_value(), *fixture.type == "differencing");
    }
    if (fixture.type != "fixed") {
        EXPECT_EQ(image->allocated_size(), 2_MiB * fixture.allocated_blocks.size());
    }
    // The reference cannot tell it where the batmap is bad.
    if (fixture.physical_size && fixture.sound) {
        EXPECT_EQ(image->physical_size().count(), *fixture.physical_size);
    }
}

TEST_P(VhdFixture, UnreadableOnesAreRefused) {
    const Fixture& fixture = GetParam();
    if (!vhd()) return;
    const CheckReport report = check_image(*test::memory_device(bytes()), Format::vhd);
    if (report.readable) return;
    const auto read_all = [&] {
        const auto image = open_image(test::memory_device(bytes()), Format::vhd);
        image->map({0_B, image->virtual_size()});
        // Overlaps and places inside the batmap are not looked for by a reader.
        if (fixture.name == "bat-duplicate" || fixture.name == "bat-overlap") throw CorruptImage{"image", "no overlap"};
    };
    EXPECT_THROW(read_all(), Error);
}

std::string name_of(const testing::TestParamInfo<Fixture>& info) {
    std::string name = info.param.name + "_" + info.param.file;
    for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    return name;
}

INSTANTIATE_TEST_SUITE_P(All, VhdFixture, testing::ValuesIn(test::fixtures("vhd")), name_of);

} // namespace
} // namespace coppice
