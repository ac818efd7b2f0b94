// Images made by other programs, kept compressed in tests/data with a manifest of what every reader must find in them.
#pragma once

#include "format/guest_view.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace coppice::test {

/// One file of a manifest. What the manifest does not say is unset.
struct Fixture {
    struct Range {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        std::string sha256;
    };

    std::string name; ///< case
    std::string file; ///< path below the case's folder
    bool sound = false;
    std::optional<std::uint64_t> virtual_size;
    std::optional<std::string> guest_sha256; ///< of the whole disk with its parents
    std::vector<Range> guest_ranges;         ///< parts of a disk that is too large to hash
    std::optional<std::string> uuid;
    std::optional<bool> hidden;
    std::optional<std::string> type;
    std::vector<std::uint64_t> allocated_blocks;
    std::optional<std::uint64_t> physical_size; ///< as the format's own tool tells it
    std::string chain_reason;                   ///< why the chain above a sound file cannot be used
    std::string sound_note;

    friend void PrintTo(const Fixture& fixture, std::ostream* out) { *out << fixture.name << '/' << fixture.file; }
};

/// `format` is a folder of tests/data that has a manifest: "vhd".
std::vector<Fixture> fixtures(const std::string& format);
/// The unpacked bytes of a fixture's file; `path` is "case/file" below tests/data/`format`.
std::vector<std::byte> unpack_fixture(const std::string& format, const std::string& path);
bool fixture_exists(const std::string& format, const std::string& path);

/// Lower-case hexadecimal SHA-256 of the guest's bytes.
std::string sha256(const GuestView& view, std::uint64_t offset, std::uint64_t length);
std::string sha256(const GuestView& view);

} // namespace coppice::test
