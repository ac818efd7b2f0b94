#include "tests/format/qcow2/stored_cases.h"

#include "format/base/error.h"
#include "format/base/file_device.h"
#include "format/chain.h"
#include "format/parent_name.h"

#include <cerrno>
#include <fstream>
#include <sstream>

#include <fcntl.h>

namespace coppice::test {

const boost::json::value& member(const boost::json::value& object, std::string_view name) {
    static const boost::json::value none;
    const auto* found = object.as_object().if_contains(name);
    return found == nullptr ? none : *found;
}

std::string text(const boost::json::value& object, std::string_view name) {
    const auto& value = member(object, name);
    return value.is_string() ? std::string{value.as_string()} : std::string{};
}

std::optional<std::uint64_t> number(const boost::json::value& object, std::string_view name) {
    const auto& value = member(object, name);
    if (value.is_null()) return std::nullopt;
    return value.to_number<std::uint64_t>();
}

const boost::json::array& stored_qcow2_cases() {
    static const boost::json::value manifest = [] {
        std::ifstream in{data_directory() / "qcow2" / "manifest.json"};
        std::stringstream content;
        content << in.rdbuf();
        return boost::json::parse(content.str());
    }();
    return member(manifest, "cases").as_array();
}

const boost::json::value& stored_qcow2_case(std::string_view name) {
    for (const auto& one : stored_qcow2_cases())
        if (text(one, "name") == name) return one;
    throw std::runtime_error{"no stored case " + std::string{name}};
}

std::unique_ptr<BlockDevice> open_device(const std::filesystem::path& path, bool writable) {
    UniqueFd fd{::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC)};
    if (fd.get() < 0) throw SystemError::from_errno("open", path.string());
    return std::make_unique<FileDevice>(std::move(fd), path.filename().string());
}

OpenChain::OpenChain(const std::filesystem::path& directory, std::string file) {
    std::optional<Format> format = format_of_name(file);
    for (;;) {
        images_.push_back(open_image(open_device(directory / file), format.value_or(Format::raw)));
        if (const auto data_file = images_.back()->data_file())
            images_.back()->attach_data_file(
                open_device(directory / name_inside_sr(*data_file, directory.string()).value()));
        const auto parent = images_.back()->parent();
        if (!parent) return;
        const auto name = name_inside_sr(parent->names.front(), directory.string());
        if (!name) throw Unsupported{file, "parent " + parent->names.front()};
        format = parent->format ? parent->format : format_of_name(*name);
        file = *name;
        if (images_.size() > 64) throw CorruptImage{file, "a chain that ends"};
    }
}

std::vector<const Image*> OpenChain::layers() const {
    std::vector<const Image*> result;
    for (const auto& image : images_)
        result.push_back(image.get());
    return result;
}

std::string guest_sha256(const OpenChain& chain) {
    const ChainView view{chain.layers()};
    Sha256 hash;
    std::vector<std::byte> buffer((1_MiB).count());
    for (Bytes at; at < view.size(); at += Bytes{buffer.size()}) {
        const auto part = std::span{buffer}.first(std::min(Bytes{buffer.size()}, view.size() - at).count());
        view.read(at, part);
        hash.add(part);
    }
    return hash.hex();
}

std::vector<std::byte> guest_bytes(const OpenChain& chain, ByteRange range) {
    std::vector<std::byte> bytes(range.length().count());
    ChainView{chain.layers()}.read(range.begin, bytes);
    return bytes;
}

} // namespace coppice::test
