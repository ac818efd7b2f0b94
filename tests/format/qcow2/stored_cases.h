// The stored QCOW2 images and what their manifest says about them.
#pragma once

#include "format/image.h"
#include "tests/support/stored_images.h"

#include <boost/json.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coppice::test {

/// A member of an object, or null where it is absent.
const boost::json::value& member(const boost::json::value& object, std::string_view name);
std::string text(const boost::json::value& object, std::string_view name);
std::optional<std::uint64_t> number(const boost::json::value& object, std::string_view name);

/// The cases of tests/data/qcow2/manifest.json.
const boost::json::array& stored_qcow2_cases();
const boost::json::value& stored_qcow2_case(std::string_view name);

std::unique_ptr<BlockDevice> open_device(const std::filesystem::path& path, bool writable = false);

/// The image `file` of a directory and all its ancestors, newest first.
class OpenChain {
public:
    OpenChain(const std::filesystem::path& directory, std::string file);

    const Image& top() const { return *images_.front(); }
    std::vector<const Image*> layers() const;

private:
    std::vector<std::unique_ptr<Image>> images_;
};

/// Of all guest bytes of the chain.
std::string guest_sha256(const OpenChain& chain);
std::vector<std::byte> guest_bytes(const OpenChain& chain, ByteRange range);

} // namespace coppice::test
