// L2 entries whose data stands in another file: what is a place in it, and what is damage.

#include "format/base/error.h"
#include "format/merge_target.h"
#include "format/qcow2/check.h"
#include "format/qcow2/image.h"
#include "format/qcow2/l2_entry.h"
#include "tests/format/qcow2/stored_cases.h"

#include <boost/endian/conversion.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coppice::test {
namespace {

constexpr std::uint64_t copied = qcow2::disk::copied_flag;
constexpr std::uint64_t cluster = 65536;

qcow2::L2Rules rules(bool extended = false) {
    return {3, 16, extended, 1_MiB, true};
}

/// The code of what is wrong with the entry of a guest cluster; empty where nothing is.
std::string defect(std::uint64_t word, std::uint64_t bitmap, Bytes guest, bool extended = false) {
    const auto entry = qcow2::decode_l2_entry(word, bitmap, rules(extended));
    const auto found = entry.defect ? entry.defect : qcow2::place_defect(entry, guest, rules(extended));
    return found ? std::string{found->code} : std::string{};
}

TEST(Qcow2DataFile, HasAPlaceAtOffsetZero) {
    const auto entry = qcow2::decode_l2_entry(copied, 0, rules());
    EXPECT_EQ(entry.data_units, 1U);
    EXPECT_FALSE(entry.counts);
    EXPECT_EQ(defect(copied, 0, 0_B), "");
    EXPECT_EQ(defect(copied, 1, 0_B, true), "");
    EXPECT_TRUE(qcow2::decode_l2_entry(0, 0, rules()).maps_nothing());
}

TEST(Qcow2DataFile, HasNoPlaceButTheGuestsOwn) {
    EXPECT_EQ(defect(copied | cluster, 0, Bytes{cluster}), "");
    EXPECT_EQ(defect(copied | (cluster << 30), 0, Bytes{cluster << 30}), ""); // far behind the end of the image
    EXPECT_EQ(defect(copied | cluster, 0, 0_B), "data-file-place");
    EXPECT_EQ(defect(copied, 0, Bytes{cluster}), "data-file-place");
    EXPECT_EQ(defect(copied | cluster | 1, 0, 0_B), "data-file-place"); // preallocated zeros
    EXPECT_EQ(defect(copied, 1ULL << 32, Bytes{cluster}, true), "data-file-place");
    EXPECT_EQ(defect(copied | 1, 0, Bytes{cluster}), ""); // plain zeros are nowhere
    EXPECT_EQ(defect(0, 1, 0_B, true), "subcluster-without-host");
}

TEST(Qcow2DataFile, HasNoCompressedClusters) {
    EXPECT_EQ(defect(qcow2::disk::compressed_flag | cluster, 0, 0_B), "compressed-with-data-file");
}

/// The stored image whose clusters 1 and 16 are data, with one entry of its L2 table changed.
class ChangedDataFile : public testing::Test {
protected:
    CheckReport check(std::uint64_t index, std::uint64_t entry) {
        write(l2_table + 8 * index, entry);
        return qcow2::check(*open_device(path));
    }
    std::string read() {
        try {
            guest_sha256(OpenChain{directory.path(), "a.qcow2"});
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
    void write(std::uint64_t offset, std::uint64_t word) {
        boost::endian::native_to_big_inplace(word);
        open_device(path, true)->write_at(Bytes{offset}, std::as_bytes(std::span{&word, 1}));
    }

    static constexpr std::uint64_t l1_table = 3 * cluster;
    static constexpr std::uint64_t l2_table = 4 * cluster;
    TemporaryDirectory directory = unpack("qcow2", "data-file");
    std::filesystem::path path = directory.path() / "a.qcow2";
};

MATCHER_P(HasCode, code, "") {
    return arg.code == code;
}

TEST_F(ChangedDataFile, IsCheckedWithoutItsDataFile) {
    std::filesystem::remove(directory.path() / "ext.raw");
    const CheckReport report = check(1, copied | cluster);
    EXPECT_EQ(report.verdict, Verdict::unsupported);
    EXPECT_THAT(report.findings, testing::ElementsAre(HasCode("data-file")));
}

TEST_F(ChangedDataFile, IsUnreadableWhereAnEntryNamesAnotherPlace) {
    const CheckReport report = check(1, copied | 2 * cluster);
    EXPECT_EQ(report.verdict, Verdict::corrupt);
    EXPECT_FALSE(report.readable);
    EXPECT_THAT(report.findings, testing::Contains(HasCode("data-file-place")));
    EXPECT_NE(read(), "");
}

TEST_F(ChangedDataFile, IsDamagedWhereACopiedFlagIsMissing) {
    const CheckReport report = check(1, cluster); // qemu-img check calls it an error too
    EXPECT_EQ(report.verdict, Verdict::corrupt);
    EXPECT_TRUE(report.readable);
    EXPECT_THAT(report.findings, testing::Contains(HasCode("copied-flag-missing")));
    EXPECT_EQ(read(), "");
}

TEST_F(ChangedDataFile, IsUnreadableWithACompressedCluster) {
    const CheckReport report = check(1, qcow2::disk::compressed_flag | l2_table);
    EXPECT_EQ(report.verdict, Verdict::corrupt);
    EXPECT_FALSE(report.readable);
    EXPECT_NE(read(), "");
}

TEST_F(ChangedDataFile, IsRefusedByAMerge) {
    class NoLog final : public EditLog {
        void begin(const std::string&, const HeaderEdit&) override {}
        void end() override {}
    } log;
    const auto image = open_image(open_device(path, true), Format::qcow2);
    EXPECT_THROW(image->merge_target(log), Unsupported);
}

} // namespace
} // namespace coppice::test
