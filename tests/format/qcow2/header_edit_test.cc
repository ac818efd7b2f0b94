// Header edits: what they change, what they keep, and what a power cut at any write leaves behind.

#include "format/qcow2/header_edit.h"

#include "format/base/error.h"
#include "format/qcow2/check.h"
#include "format/qcow2/create.h"
#include "format/qcow2/header.h"
#include "format/qcow2/image.h"
#include "format/qcow2/parent_reference.h"
#include "tests/format/qcow2/stored_cases.h"
#include "tests/support/memory_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace coppice::test {
namespace {

using qcow2::Extension;
using qcow2::Header;

/// A file on a machine that can lose power.
struct Machine {
    PowerSupply power;
    std::shared_ptr<MemoryFile> file = std::make_shared<MemoryFile>();
    std::mt19937_64 random{1};

    MemoryDevice device() { return {file, "image", &power}; }
    Header header() { return qcow2::read_header(device()); }
};

struct Shape {
    std::string name;
    qcow2::CreateOptions options;
    std::size_t padding = 0; ///< bytes of an unknown extension in front
};

void add_unknown_extension(Machine& machine, std::size_t length) {
    // Right behind the header, so that everything else moves away from the first sector.
    auto& bytes = machine.file->bytes;
    const Header header = machine.header();
    const std::size_t begin = header.header_length;
    const std::size_t move = 8 + length;
    const std::size_t cluster = header.cluster_size().count();
    std::copy_backward(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                       bytes.begin() + static_cast<std::ptrdiff_t>(cluster - move),
                       bytes.begin() + static_cast<std::ptrdiff_t>(cluster));
    qcow2::disk::ExtensionHeader head;
    head.type = 0x12345678;
    head.length = static_cast<std::uint32_t>(length);
    std::memcpy(bytes.data() + begin, &head, sizeof head);
    for (std::size_t index = 0; index < length; ++index)
        bytes[begin + 8 + index] = std::byte{static_cast<unsigned char>(index)};
    if (header.backing_file) {
        qcow2::disk::be64 place;
        place = header.backing_file_offset.count() + move;
        std::memcpy(bytes.data() + 8, &place, sizeof place);
    }
    machine.file->flush();
}

std::vector<Shape> shapes() {
    std::vector<Shape> result;
    for (const unsigned version : {2U, 3U})
        for (const unsigned bits : {9U, 10U, 12U, 16U})
            for (const bool with_parent : {false, true})
                for (const std::size_t padding : {0U, 296U, 384U, 504U}) {
                    qcow2::CreateOptions options;
                    options.size = 1_MiB;
                    options.version = version;
                    options.cluster_bits = bits;
                    if (with_parent) {
                        options.backing_name = "6f1c2b9a-0f0e-4b43-9a43-0d0b6f0e1a11.qcow2";
                        options.backing_format = Format::qcow2;
                        options.hidden = false;
                    }
                    if (bits == 9 && padding > 200) continue;
                    result.push_back({"version " + std::to_string(version) + ", cluster bits " + std::to_string(bits) +
                                          (with_parent ? ", with parent" : "") + ", padding " + std::to_string(padding),
                                      options, padding});
                }
    return result;
}

void make(Machine& machine, const Shape& shape) {
    machine.power.never_fail();
    machine.file->bytes.clear();
    auto device = machine.device();
    qcow2::create(device, shape.options);
    if (shape.padding != 0) add_unknown_extension(machine, shape.padding);
}

/// Extensions other than those an edit may change.
std::vector<std::pair<std::uint32_t, std::vector<std::byte>>> others(const Header& header, std::uint32_t changed) {
    std::vector<std::pair<std::uint32_t, std::vector<std::byte>>> result;
    for (const Extension& extension : header.extensions)
        if (extension.type != changed) result.emplace_back(extension.type, extension.data);
    return result;
}

struct Reference {
    std::optional<std::string> name;
    std::optional<std::string> format;
    bool operator==(const Reference&) const = default;
};
Reference reference(const Header& header) {
    if (!header.backing_file) return {};
    return {header.backing_file, header.backing_format()};
}

const std::string short_name = "a.qcow2";
const std::string usual_name = "5b2c3d4e-1111-4222-8333-944455556666.qcow2";
const std::string long_name = "/var/run/sr-mount/11111111-2222-4333-8444-555555555555/" + usual_name;

/// Applies the edit with a power cut at every change; then the state is the old one or the new one, or `between` allows
/// it.
void cut_power_everywhere(Machine& machine, const HeaderEdit& edit, const std::function<void(const Header&)>& judge) {
    const auto before = machine.file->bytes;
    for (const Unsynced unsynced : {Unsynced::kept, Unsynced::lost, Unsynced::torn}) {
        for (std::uint64_t changes = 0;; ++changes) {
            machine.file->bytes = before;
            machine.file->flush();
            bool finished = true;
            machine.power.fail_after(changes);
            try {
                auto device = machine.device();
                apply(device, edit);
            } catch (const PowerLost&) {
                finished = false;
            }
            machine.power.never_fail();
            machine.file->lose_power(unsynced, machine.random);
            SCOPED_TRACE("power lost after change " + std::to_string(changes));
            judge(machine.header());
            if (finished) break;
            // What was recorded is applied again.
            auto device = machine.device();
            apply(device, edit);
        }
    }
}

TEST(Qcow2HeaderEdit, RelinksInEveryLayoutAndSurvivesPowerCuts) {
    for (const Shape& shape : shapes()) {
        SCOPED_TRACE(shape.name);
        Machine machine;
        make(machine, shape);
        for (const auto& [name, format] : {std::pair{usual_name, Format::qcow2},
                                           {long_name, Format::qcow2},
                                           {short_name, Format::raw},
                                           {long_name, Format::raw},
                                           {usual_name, Format::qcow2},
                                           {short_name, Format::vhd}}) {
            SCOPED_TRACE(name);
            const Header old = machine.header();
            const auto device = machine.device();
            HeaderEdit edit;
            try {
                edit = qcow2::relink_edit(device, old, NewParent{name, format, {}, 0});
            } catch (const Unsupported&) {
                // Only where there is little room.
                EXPECT_EQ(shape.options.cluster_bits, 9U);
                continue;
            }
            const Reference before = reference(old);
            const Reference after{name, std::string{qcow2::backing_format_name(format)}};
            cut_power_everywhere(machine, edit, [&](const Header& header) {
                const Reference now = reference(header);
                // On the way no pair of one name and the other's format may stand; a format that nobody can open may,
                // also cut short where it lies across two sectors.
                const bool closed = now.format && std::string{"changing"}.starts_with(*now.format) &&
                                    (now.name == before.name || now.name == after.name);
                const bool new_without_format = now.name == after.name && !now.format && !old.backing_format();
                EXPECT_TRUE(now == before || now == after || closed || new_without_format)
                    << now.name.value_or("-") << " " << now.format.value_or("-");
                EXPECT_EQ(header.hidden(), old.hidden());
                EXPECT_EQ(others(header, qcow2::disk::extension_backing_format),
                          others(old, qcow2::disk::extension_backing_format));
            });
            EXPECT_EQ(reference(machine.header()), after);
        }
        const auto device = machine.device();
        EXPECT_EQ(qcow2::check(device).verdict, Verdict::ok);
    }
}

TEST(Qcow2HeaderEdit, UsualLayoutsChangeInOneSectorWrite) {
    for (const std::string& name : {short_name, usual_name, long_name})
        for (const Format format : {Format::qcow2, Format::raw}) {
            Machine machine;
            qcow2::CreateOptions options;
            options.size = 1_GiB;
            options.backing_name = usual_name;
            options.backing_format = Format::qcow2;
            options.hidden = true;
            make(machine, {"", options, 0});
            const auto device = machine.device();
            const auto edit = qcow2::relink_edit(device, machine.header(), NewParent{"x" + name, format, {}, 0});
            ASSERT_LE(edit.phases.size(), 2U);
            ASSERT_EQ(edit.phases.back().size(), 1U);
            EXPECT_EQ(edit.phases.back().front().offset, 0_B);
            EXPECT_EQ(edit.phases.back().front().bytes.size(), 512U);
        }
}

TEST(Qcow2HeaderEdit, DropsTheParent) {
    for (const Shape& shape : shapes()) {
        if (!shape.options.backing_name) continue;
        SCOPED_TRACE(shape.name);
        Machine machine;
        make(machine, shape);
        const Header old = machine.header();
        const auto device = machine.device();
        const HeaderEdit edit = qcow2::relink_edit(device, old, std::nullopt);
        EXPECT_EQ(edit.phases.size(), 1U);
        cut_power_everywhere(machine, edit, [&](const Header& header) {
            EXPECT_TRUE(reference(header) == reference(old) || !header.backing_file);
            EXPECT_EQ(others(header, qcow2::disk::extension_backing_format),
                      others(old, qcow2::disk::extension_backing_format));
        });
        EXPECT_FALSE(machine.header().backing_file);
        EXPECT_TRUE(qcow2::relink_edit(machine.device(), machine.header(), std::nullopt).empty());
    }
}

TEST(Qcow2HeaderEdit, HidesAndShows) {
    for (const Shape& shape : shapes()) {
        SCOPED_TRACE(shape.name);
        Machine machine;
        make(machine, shape);
        for (const bool hidden : {false, true, true, false}) {
            const Header old = machine.header();
            const auto device = machine.device();
            HeaderEdit edit;
            try {
                edit = qcow2::hidden_edit(device, old, hidden);
            } catch (const Unsupported&) {
                EXPECT_EQ(shape.options.cluster_bits, 9U);
                continue;
            }
            if (old.hidden() == hidden) {
                EXPECT_TRUE(edit.empty());
                continue;
            }
            cut_power_everywhere(machine, edit, [&](const Header& header) {
                EXPECT_EQ(reference(header), reference(old));
                EXPECT_EQ(others(header, qcow2::disk::extension_hidden), others(old, qcow2::disk::extension_hidden));
            });
            EXPECT_EQ(machine.header().hidden(), hidden);
            if (hidden) {
                EXPECT_EQ(machine.header().extensions.back().type, qcow2::disk::extension_hidden);
            }
        }
    }
}

TEST(Qcow2HeaderEdit, KeepsUnknownFieldsAndExtensionsOfStoredImages) {
    for (const auto& stored : stored_qcow2_cases()) {
        if (text(stored, "verdict") != "ok") continue;
        const auto directory = unpack("qcow2", text(stored, "name"));
        for (const auto& node : member(stored, "nodes").as_array()) {
            const std::string file = text(node, "file");
            if (format_of_name(file) != Format::qcow2) continue;
            SCOPED_TRACE(text(stored, "name") + "/" + file);
            auto device = open_device(directory.path() / file, true);
            const Header old = qcow2::read_header(*device);
            const auto fields = device->read_at(0_B, Bytes{old.header_length});
            try {
                apply(*device, qcow2::relink_edit(*device, old, NewParent{usual_name, Format::qcow2, {}, 0}));
                apply(*device, qcow2::hidden_edit(*device, qcow2::read_header(*device), true));
            } catch (const Unsupported&) {
                EXPECT_EQ(old.cluster_bits, 9U);
                continue;
            }
            const Header header = qcow2::read_header(*device);
            EXPECT_EQ(reference(header), (Reference{usual_name, "qcow2"}));
            EXPECT_TRUE(header.hidden());
            auto expected = fields;
            const auto now = device->read_at(0_B, Bytes{old.header_length});
            std::copy_n(now.begin() + 8, 12, expected.begin() + 8); // place and length of the name
            EXPECT_EQ(now, expected);
            const auto unknown = [](const Header& one) {
                auto result = others(one, qcow2::disk::extension_hidden);
                std::erase_if(result,
                              [](const auto& pair) { return pair.first == qcow2::disk::extension_backing_format; });
                return result;
            };
            EXPECT_EQ(unknown(header), unknown(old));
            EXPECT_EQ(qcow2::check(*device).verdict, Verdict::ok);
        }
    }
}

TEST(Qcow2HeaderEdit, RefusesNamesThatDoNotFit) {
    Machine machine;
    qcow2::CreateOptions options;
    options.size = 1_MiB;
    options.cluster_bits = 9;
    make(machine, {"", options, 0});
    const auto device = machine.device();
    EXPECT_THROW(qcow2::relink_edit(device, machine.header(), NewParent{std::string(500, 'x'), Format::qcow2, {}, 0}),
                 Unsupported);
    EXPECT_THROW(qcow2::relink_edit(device, machine.header(), NewParent{std::string(1024, 'x'), Format::qcow2, {}, 0}),
                 Unsupported);
    EXPECT_THROW(qcow2::relink_edit(device, machine.header(), NewParent{"", Format::qcow2, {}, 0}), Unsupported);
}

} // namespace
} // namespace coppice::test
