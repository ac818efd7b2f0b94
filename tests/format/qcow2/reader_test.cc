// Every stored image is read, or refused, as the manifest says.

#include "format/base/error.h"
#include "format/chain.h"
#include "format/parent_name.h"
#include "format/qcow2/image.h"
#include "tests/format/qcow2/stored_cases.h"
#include "tests/support/memory_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coppice::test {
namespace {

namespace json = boost::json;

class StoredQcow2 : public testing::TestWithParam<const json::value*> {
protected:
    const json::value& stored() const { return *GetParam(); }
    std::string name() const { return text(stored(), "name"); }
};

class SoundQcow2 : public StoredQcow2 {};
class RefusedQcow2 : public StoredQcow2 {};
class CorruptQcow2 : public StoredQcow2 {};

std::string parameter_name(const testing::TestParamInfo<const json::value*>& info) {
    std::string result;
    bool upper = true;
    for (const char c : text(*info.param, "name")) {
        if (c == '-') {
            upper = true;
            continue;
        }
        result += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
        upper = false;
    }
    return result;
}

bool content_is_defined(const json::value& stored) {
    const std::string verdict = text(stored, "verdict");
    const bool defined = verdict == "ok" || verdict == "leaks" || !member(stored, "content_defined").is_null();
    return defined && member(stored, "no_qemu_read").is_null();
}
bool must_be_refused(const json::value& stored) {
    return text(stored, "verdict") == "refuse" && text(stored, "refuse_scope") == "open";
}
bool is_corrupt(const json::value& stored) {
    return text(stored, "verdict") == "corrupt";
}

auto cases(bool (*wanted)(const json::value&)) {
    std::vector<const json::value*> result;
    for (const auto& one : stored_qcow2_cases())
        if (wanted(one)) result.push_back(&one);
    return testing::ValuesIn(result);
}

/// What the layer alone maps.
std::pair<Bytes, Bytes> mapped(const Image& image) {
    Bytes data;
    Bytes zero;
    const Bytes step = 1_GiB;
    for (auto at = image.next_mapped(0_B); at; at = image.next_mapped(*at)) {
        const Bytes end = std::min(image.virtual_size(), *at + step);
        for (const MapRun& run : image.map({*at, end}))
            (run.content == Content::zero ? zero : data) += run.guest.length();
        if (end == image.virtual_size()) break;
        at = end;
    }
    return {data, zero};
}

void compare_extents(const OpenChain& chain, const json::array& extents) {
    const auto layers = chain.layers();
    std::vector<ByteRange> found;
    for (auto at = next_composite(layers, 0_B, chain.top().virtual_size()); at;) {
        const Bytes end = std::min(chain.top().virtual_size(), *at + 256_MiB);
        for (const ChainRun& run : composite_map(layers, {*at, end})) {
            if (run.content == Content::zero) continue;
            if (!found.empty() && found.back().end == run.guest.begin)
                found.back().end = run.guest.end;
            else
                found.push_back(run.guest);
        }
        at = next_composite(layers, end, chain.top().virtual_size());
    }
    ASSERT_EQ(found.size(), extents.size());
    for (std::size_t index = 0; index < found.size(); ++index) {
        const auto range =
            ByteRange::at(Bytes{*number(extents[index], "offset")}, Bytes{*number(extents[index], "length")});
        EXPECT_EQ(found[index], range);
        EXPECT_EQ(sha256(guest_bytes(chain, range)), text(extents[index], "sha256"));
    }
}

TEST_P(SoundQcow2, ReadsAsTheManifestSays) {
    const auto directory = unpack("qcow2", name());
    for (const auto& node : member(stored(), "nodes").as_array()) {
        const std::string file = text(node, "file");
        if (format_of_name(file) != Format::qcow2) continue;
        SCOPED_TRACE(file);
        const OpenChain chain{directory.path(), file};
        const Image& image = chain.top();
        EXPECT_EQ(image.virtual_size(), Bytes{*number(node, "virtual_size")});
        // The host's tools give up on compressed clusters.
        if (const auto allocated = number(node, "cluster_allocated_bytes")) {
            EXPECT_EQ(image.allocated_size(), Bytes{*allocated});
        }
        EXPECT_EQ(image.physical_size(), Bytes{*number(node, "file_size")});
        const auto [data, zero] = mapped(image);
        EXPECT_EQ(data, Bytes{*number(node, "layer_data_bytes")});
        EXPECT_EQ(zero, Bytes{*number(node, "layer_zero_bytes")});
        if (const auto hash = text(node, "guest_sha256"); !hash.empty()) {
            EXPECT_EQ(guest_sha256(chain), hash);
        }
        if (const auto& extents = member(node, "guest_data_extents"); extents.is_array())
            compare_extents(chain, extents.as_array());
        if (const auto parent = text(node, "backing_file"); !parent.empty()) {
            EXPECT_EQ(image.parent()->names, std::vector{parent});
            const auto recorded = text(node, "backing_format");
            EXPECT_EQ(image.parent()->format, recorded == "qcow2" ? std::optional{Format::qcow2}
                                              : recorded == "raw" ? std::optional{Format::raw}
                                              : recorded == "vpc" ? std::optional{Format::vhd}
                                                                  : std::nullopt);
        } else {
            EXPECT_FALSE(image.parent());
        }
        if (const auto& hidden = member(stored(), "hidden"); hidden.is_bool()) {
            EXPECT_EQ(image.hidden(), hidden.as_bool());
        }
    }
}

TEST_P(RefusedQcow2, IsRefusedAsTheManifestSays) {
    const auto directory = unpack("qcow2", name());
    const std::string file = text(stored(), "open_this");
    if (text(stored(), "group") == "policy" || name().starts_with("cycle-")) {
        // Nothing is wrong with the layer; it is the chain that cannot be opened.
        EXPECT_NO_THROW(open_image(open_device(directory.path() / file), Format::qcow2));
        EXPECT_THROW(OpenChain(directory.path(), file), Error);
    } else {
        EXPECT_THROW(open_image(open_device(directory.path() / file), Format::qcow2), Error);
    }
}

/// Whatever is wrong with an image: an answer or an Error, never anything else.
TEST_P(CorruptQcow2, NeverDoesWorseThanThrow) {
    const auto directory = unpack("qcow2", name());
    try {
        const OpenChain chain{directory.path(), text(stored(), "open_this")};
        try {
            chain.top().allocated_size();
            chain.top().physical_size();
            mapped(chain.top());
        } catch (const Error&) {
        }
        guest_sha256(chain);
    } catch (const Error&) {
    }
}

INSTANTIATE_TEST_SUITE_P(Stored, SoundQcow2, cases(content_is_defined), parameter_name);
INSTANTIATE_TEST_SUITE_P(Stored, RefusedQcow2, cases(must_be_refused), parameter_name);
INSTANTIATE_TEST_SUITE_P(Stored, CorruptQcow2, cases(is_corrupt), parameter_name);

TEST(Qcow2Image, TakesNoBytesForThoseOfADataFileThatIsNotOpen) {
    const auto directory = unpack("qcow2", "data-file");
    const auto image = open_image(open_device(directory.path() / "a.qcow2"), Format::qcow2);
    EXPECT_EQ(image->data_file(), "ext.raw");
    EXPECT_THROW(image->data_device(), Unsupported);
    EXPECT_THROW(image->relinked(std::nullopt), Unsupported);
    const ChainView view{{image.get()}};
    std::vector<std::byte> buffer(512);
    EXPECT_THROW(view.read(64_KiB, buffer), Unsupported);
}

TEST(Qcow2Image, ReadsZerosBehindTheEndOfADataFile) {
    const auto directory = unpack("qcow2", "data-file");
    std::filesystem::resize_file(directory.path() / "ext.raw", 65536 + 1024);
    const OpenChain chain{directory.path(), "a.qcow2"};
    const auto bytes = guest_bytes(chain, {64_KiB, 68_KiB});
    EXPECT_NE(bytes.at(1023), std::byte{0});
    EXPECT_THAT(std::vector(bytes.begin() + 1024, bytes.end()), testing::Each(std::byte{0}));
}

TEST(Qcow2Image, FindsThePathsOfLogicalVolumes) {
    for (const auto* name : {"lvm-style-backing-path", "mapper-style-backing-path"}) {
        const auto directory = unpack("qcow2", name);
        const auto image = open_image(open_device(directory.path() / "a.qcow2"), Format::qcow2);
        EXPECT_THAT(image->parent()->names, testing::ElementsAre(text(stored_qcow2_case(name), "expected_parent")));
    }
}

} // namespace
} // namespace coppice::test
