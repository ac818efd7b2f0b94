// The check's verdict on every stored image is the manifest's.

#include "format/qcow2/check.h"
#include "tests/format/qcow2/stored_cases.h"
#include "tests/support/memory_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coppice::test {
namespace {

namespace json = boost::json;

struct Expected {
    Verdict verdict;
    std::optional<bool> readable; ///< nullopt where the manifest does not say
    bool mergeable;
};

Expected expected_of(const json::value& stored, const json::value& node) {
    const std::string name = text(stored, "name");
    const std::string verdict = text(stored, "verdict");
    const std::string scope = text(stored, "refuse_scope");
    // Faults of the chain cannot be seen in a layer.
    const bool chain = name.starts_with("cycle-") || name == "backing-missing" || name.starts_with("chain-vhd-");
    // The refused image is the one that is opened, not its ancestors.
    const bool ancestor = text(node, "file") != text(stored, "open_this");
    if (verdict == "ok" || chain || ancestor) return {Verdict::ok, true, true};
    if (verdict == "leaks") return {Verdict::leaks, true, true};
    const bool defined = !member(stored, "content_defined").is_null();
    if (verdict == "corrupt") return {Verdict::corrupt, defined ? std::optional{true} : std::nullopt, false};
    return {Verdict::unsupported, scope != "open", false};
}

std::string findings_of(const CheckReport& report) {
    std::string result;
    for (const Finding& finding : report.findings)
        result += finding.code + " " + std::to_string(finding.offset.value_or(0_B).count()) + " " + finding.text + "\n";
    return result;
}

TEST(Qcow2Check, AgreesWithTheManifest) {
    for (const auto& stored : stored_qcow2_cases()) {
        const auto directory = unpack("qcow2", text(stored, "name"));
        for (const auto& node : member(stored, "nodes").as_array()) {
            const std::string file = text(node, "file");
            if (format_of_name(file) != Format::qcow2) continue;
            SCOPED_TRACE(text(stored, "name") + "/" + file);
            const auto device = open_device(directory.path() / file);
            const CheckReport report = qcow2::check(*device);
            SCOPED_TRACE(findings_of(report));
            const Expected expected = expected_of(stored, node);
            EXPECT_EQ(to_string(report.verdict), to_string(expected.verdict));
            if (expected.readable) {
                EXPECT_EQ(report.readable, *expected.readable);
            }
            EXPECT_EQ(report.mergeable, expected.mergeable);
            const bool sound = report.verdict == Verdict::ok || report.verdict == Verdict::leaks;
            EXPECT_EQ(report.reason.empty(), sound);
        }
    }
}

} // namespace
} // namespace coppice::test
