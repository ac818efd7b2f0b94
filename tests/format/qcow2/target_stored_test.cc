// The stored images as merge targets: every child of a sound chain goes into its parent; what must not be written to is
// refused; what was left behind by others is put in order.
#include "format/base/error.h"
#include "format/check.h"
#include "format/merge_target.h"
#include "tests/format/qcow2/stored_cases.h"
#include "tests/format/qcow2/target_world.h"

#include <gtest/gtest.h>

namespace coppice::test {
namespace {

namespace json = boost::json;

constexpr Bytes window = 64_MiB;

/// Writes all that `child` maps into `target`.
void pour(const Image& child, MergeTarget& target, const Beneath& beneath, DataMover& mover) {
    for (auto at = child.next_mapped(0_B); at; at = child.next_mapped(*at)) {
        const ByteRange range{*at, std::min(*at + window, child.virtual_size())};
        std::vector<GuestWrite> writes;
        std::vector<std::vector<std::byte>> buffers;
        buffers.reserve(window / 512_B);
        for (const MapRun& run : child.map(range)) {
            if (run.content == Content::data) {
                writes.push_back({run.guest, GuestWrite::Source::device, &child.device(), run.host, {}});
            } else if (run.content == Content::zero) {
                writes.push_back({run.guest, GuestWrite::Source::zeros, nullptr, 0_B, {}});
            } else {
                auto& buffer = buffers.emplace_back(run.guest.length().count());
                child.read_compressed(run, run.guest, buffer);
                writes.push_back({run.guest, GuestWrite::Source::memory, nullptr, 0_B, buffer});
            }
        }
        target.write(writes, beneath, mover);
        if (range.end == child.virtual_size()) return;
        at = range.end;
    }
}

void merge(const std::filesystem::path& directory, const std::string& child_file, const std::string& parent_file) {
    const auto child = open_image(open_device(directory / child_file), Format::qcow2);
    const auto parent = open_image(open_device(directory / parent_file, true), Format::qcow2);
    const OpenChain chain{directory, parent_file};
    auto layers = chain.layers();
    layers.erase(layers.begin());
    const ChainView view{layers};
    const Beneath beneath{view, view};
    BufferedMover mover{BufferedMover::Sharing::where_possible};
    MemoryEditLog log;
    const auto target = parent->merge_target(log);
    target->prepare();
    target->grow(child->virtual_size(), beneath, mover);
    pour(*child, *target, beneath, mover);
    target->finish(MergeTarget::Becomes::child);
}

const json::value* node_of(const json::value& stored, const std::string& file) {
    for (const json::value& node : member(stored, "nodes").as_array())
        if (text(node, "file") == file) return &node;
    return nullptr;
}

void expect_clean(const std::filesystem::path& path) {
    const auto device = open_device(path);
    const CheckReport report = check_image(*device, Format::qcow2);
    EXPECT_EQ(report.verdict, Verdict::ok) << path << (report.findings.empty() ? "" : report.findings.front().text);
    must_run({"qemu-img", "check", "-U", "-f", "qcow2", path.string()});
}

void expect_same_content(const std::filesystem::path& directory, const json::value& child, const std::string& parent) {
    const OpenChain merged{directory, parent};
    const Bytes size{number(child, "virtual_size").value()};
    ASSERT_GE(merged.top().virtual_size(), size);
    if (const auto& extents = member(child, "guest_data_extents"); extents.is_array()) {
        for (const json::value& extent : extents.as_array()) {
            const ByteRange range =
                ByteRange::at(Bytes{number(extent, "offset").value()}, Bytes{number(extent, "length").value()});
            EXPECT_EQ(sha256(guest_bytes(merged, range)), text(extent, "sha256"));
        }
    } else {
        EXPECT_EQ(sha256(guest_bytes(merged, {0_B, size})), text(child, "guest_sha256"));
    }
}

TEST(Qcow2TargetStored, TakesEveryChild) {
    unsigned merges = 0;
    for (const json::value& stored : stored_qcow2_cases()) {
        if (text(stored, "verdict") != "ok") continue;
        for (const json::value& child : member(stored, "nodes").as_array()) {
            const std::string parent = text(child, "backing_file");
            const json::value* node = node_of(stored, parent);
            if (node == nullptr || !parent.ends_with(".qcow2") || !text(child, "file").ends_with(".qcow2")) continue;
            SCOPED_TRACE(text(stored, "name") + ": " + text(child, "file") + " into " + parent);
            const TemporaryDirectory directory = unpack("qcow2", text(stored, "name"));
            ASSERT_NO_THROW(merge(directory.path(), text(child, "file"), parent));
            expect_same_content(directory.path(), child, parent);
            expect_clean(directory.path() / parent);
            ++merges;
        }
    }
    EXPECT_GE(merges, 20U);
}

// A image on its own, sound or with what a crash leaves behind, is a target; all others are refused, unchanged.
TEST(Qcow2TargetStored, IsPreparedOrRefused) {
    // Faults of the chain, which this layer alone does not show.
    const auto of_chain = [](const std::string& name) {
        return name.starts_with("backing-") || name.starts_with("cycle-") || name.starts_with("chain-vhd-");
    };
    // Streams that do not decompress: making a target looks at tables only. The planner asks for a check of the
    // content, and never gets that far.
    const auto of_content = [](const std::string& name) {
        return name == "compressed-garbage" || name == "compressed-short-stream";
    };
    for (const json::value& stored : stored_qcow2_cases()) {
        const std::string file = text(stored, "open_this");
        if (!file.ends_with(".qcow2")) continue;
        SCOPED_TRACE(text(stored, "name"));
        const TemporaryDirectory directory = unpack("qcow2", text(stored, "name"));
        const auto path = directory.path() / file;
        if (!std::filesystem::exists(path)) continue;
        const std::string verdict = text(stored, "verdict");
        const auto size = std::filesystem::file_size(path);
        const auto small = size < (16_MiB).count();
        const auto before = small ? read_whole(path) : std::vector<std::byte>{};
        bool taken = false;
        try {
            const auto image = open_image(open_device(path, true), Format::qcow2);
            MemoryEditLog log;
            const auto target = image->merge_target(log);
            taken = true;
            target->prepare();
            target->finish(MergeTarget::Becomes::child);
        } catch (const Error& error) {
            EXPECT_FALSE(taken) << error.what();
            EXPECT_NE(verdict, "ok") << error.what();
            if (small) {
                EXPECT_EQ(first_difference(read_whole(path), before), std::nullopt);
            }
        }
        if (!taken) continue;
        EXPECT_TRUE(verdict == "ok" || verdict == "leaks" || text(stored, "name").starts_with("dirty") ||
                    of_chain(text(stored, "name")) || of_content(text(stored, "name")))
            << verdict;
        const auto device = open_device(path);
        const CheckReport report = check_image(*device, Format::qcow2, CheckDepth::metadata);
        EXPECT_TRUE(report.verdict == Verdict::ok || report.verdict == Verdict::unsupported)
            << report.findings.front().code << " " << report.findings.front().text;
    }
}

} // namespace
} // namespace coppice::test
