// Stored images for tests: tests/data/<format>/<case>/*.zst, unpacked into a directory of their own; and hashes of
// bytes.
#pragma once

#include "tests/support/temporary_directory.h"

#include <array>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace coppice::test {

/// The tests/data directory of the source tree.
std::filesystem::path data_directory();

/// All files of tests/data/<format>/<name>, uncompressed and sparse, with their names and subdirectories. Throws
/// std::runtime_error where the case does not exist.
TemporaryDirectory unpack(std::string_view format, std::string_view name);

/// Of bytes that come piece by piece.
class Sha256 {
public:
    Sha256();
    ~Sha256();
    void add(std::span<const std::byte> bytes);
    /// Lower case hexadecimal. The object is used up.
    std::string hex();

private:
    struct State;
    std::unique_ptr<State> state_;
};

std::string sha256(std::span<const std::byte> bytes);

} // namespace coppice::test
